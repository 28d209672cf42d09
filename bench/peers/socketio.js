// Rooms of Socket.IO, through Redis if REDIS_URL is set.
"use strict";

const { createServer } = require("http");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");
const { Server } = require("socket.io");

async function main() {
  const http = createServer();
  const server = new Server(http);
  if (process.env.REDIS_URL) {
    const publisher = createClient({ url: process.env.REDIS_URL });
    const subscriber = publisher.duplicate();
    await Promise.all([publisher.connect(), subscriber.connect()]);
    server.adapter(createAdapter(publisher, subscriber));
  }
  server.on("connection", (socket) => {
    socket.on("join", async (room) => {
      await socket.join(room);
      socket.data.room = room;
      socket.emit("joined");
    });
    socket.on("say", (event) => server.to(socket.data.room).emit("said", { message: event.message }));
  });
  http.listen(Number(process.argv[2]), "127.0.0.1");
}

main();
