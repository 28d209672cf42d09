// Validates AsyncAPI documents, and writes the types of the first one: `node generate.mjs FOLDER DOCUMENT...`
import { readFileSync } from "node:fs";
import { TypeScriptFileGenerator } from "@asyncapi/modelina";
import { DiagnosticSeverity, Parser } from "@asyncapi/parser";

const [folder, ...documents] = process.argv.slice(2);
const parser = new Parser();
let first;
for (const path of documents) {
  const { document, diagnostics } = await parser.parse(readFileSync(path, "utf8"));
  first ??= document;
  for (const { severity, message, path: place } of diagnostics) {
    if (severity <= DiagnosticSeverity.Warning) console.log(`${path}: ${place.join(".")}: ${message}`);
  }
}

// The types of a channel are one union, so each direction has a folder of its own.
const processorOptions = { interpreter: { ignoreAdditionalProperties: true } };
const types = { modelType: "interface", enumType: "union", mapType: "record", rawPropertyNames: true };
const options = { ...types, processorOptions };
for (const action of ["send", "receive"]) {
  const document = structuredClone(first.json());
  for (const [id, operation] of Object.entries(document.operations)) {
    if (operation.action !== action) delete document.operations[id];
  }
  await new TypeScriptFileGenerator(options).generateToFiles(document, `${folder}/${action}`, {});
}
