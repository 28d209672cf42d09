// Rooms of Node's ws.
"use strict";

const { WebSocketServer } = require("ws");

const rooms = new Map();
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) });

server.on("connection", (socket, request) => {
  if (!rooms.has(request.url)) rooms.set(request.url, new Set());
  const room = rooms.get(request.url);
  room.add(socket);
  socket.on("message", (data) => {
    const text = JSON.stringify({ message: JSON.parse(data).message });
    for (const member of room) member.send(text);
  });
  socket.on("close", () => room.delete(socket));
});
