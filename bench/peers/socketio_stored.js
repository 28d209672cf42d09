// Chat of Socket.IO's tutorial, step 7, with its SQLite. Messages are numbered by room without a gap.
"use strict";

const { createServer } = require("http");
const { Server } = require("socket.io");
const { open } = require("sqlite");
const sqlite3 = require("sqlite3");

async function main() {
  const db = await open({ filename: process.env.DATABASE, driver: sqlite3.Database });
  await db.exec(`
    PRAGMA journal_mode=WAL;
    DROP TABLE IF EXISTS messages;
    CREATE TABLE messages (
      id INTEGER PRIMARY KEY AUTOINCREMENT, room TEXT, seq INTEGER, user TEXT, ref TEXT, text TEXT, at TEXT,
      UNIQUE (room, seq), UNIQUE (room, user, ref)
    );
  `);
  const http = createServer();
  const server = new Server(http, { connectionStateRecovery: {} });
  server.on("connection", (socket) => {
    socket.on("join", async (room) => {
      await socket.join(room);
      socket.data.room = room;
      socket.emit("joined");
    });
    socket.on("say", async ({ ref, text }) => {
      const { room } = socket.data;
      const key = [room, socket.id, ref];
      try {
        // Not `get`, which acknowledges before the commit: it does not run the statement to its end.
        const [message] = await db.all(
          `INSERT INTO messages (room, seq, user, ref, text, at)
           SELECT ?1, COALESCE(MAX(seq), 0) + 1, ?2, ?3, ?4, ?5 FROM messages WHERE room = ?1
           RETURNING seq, ref, user, text, at`,
          ...key,
          text,
          new Date().toISOString(),
        );
        server.to(room).emit("said", message);
      } catch (error) {
        if (error.errno !== 19 /* SQLITE_CONSTRAINT */) throw error;
        const stored = "SELECT seq, ref, user, text, at FROM messages WHERE room = ? AND user = ? AND ref = ?";
        socket.emit("said", await db.get(stored, ...key));
      }
    });
  });
  http.listen(Number(process.argv[2]), "127.0.0.1");
}

main();
