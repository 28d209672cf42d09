// Chat of Socket.IO's tutorial, step 7, on Node's own SQLite: the tutorial's package would be compiled for minutes.
// Messages are numbered by room without a gap.
"use strict";

const { createServer } = require("http");
const { DatabaseSync } = require("node:sqlite");
const { Server } = require("socket.io");

const UNIQUE = 2067; // SQLITE_CONSTRAINT_UNIQUE

function main() {
  const db = new DatabaseSync(process.env.DATABASE);
  db.exec(`
    PRAGMA journal_mode=WAL;
    DROP TABLE IF EXISTS messages;
    CREATE TABLE messages (
      id INTEGER PRIMARY KEY AUTOINCREMENT, room TEXT, seq INTEGER, user TEXT, ref TEXT, text TEXT, at TEXT,
      UNIQUE (room, seq), UNIQUE (room, user, ref)
    );
  `);
  const insert = db.prepare(
    `INSERT INTO messages (room, seq, user, ref, text, at)
     SELECT ?1, COALESCE(MAX(seq), 0) + 1, ?2, ?3, ?4, ?5 FROM messages WHERE room = ?1
     RETURNING seq, ref, user, text, at`,
  );
  const find = db.prepare("SELECT seq, ref, user, text, at FROM messages WHERE room = ? AND user = ? AND ref = ?");
  const http = createServer();
  const server = new Server(http, { connectionStateRecovery: {} });
  server.on("connection", (socket) => {
    socket.on("join", async (room) => {
      await socket.join(room);
      socket.data.room = room;
      socket.emit("joined");
    });
    socket.on("say", ({ ref, text }) => {
      const { room } = socket.data;
      const key = [room, socket.id, ref];
      try {
        server.to(room).emit("said", insert.get(...key, text, new Date().toISOString()));
      } catch (error) {
        if (error.errcode !== UNIQUE) throw error;
        socket.emit("said", find.get(...key));
      }
    });
  });
  http.listen(Number(process.argv[2]), "127.0.0.1");
}

main();
