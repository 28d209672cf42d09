"""Connection manager of FastAPI's documentation, one per room."""

import json
from collections import defaultdict

from fastapi import FastAPI, WebSocket, WebSocketDisconnect


class ConnectionManager:
    def __init__(self):
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket):
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket):
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str):
        for connection in self.active_connections:
            await connection.send_text(message)


app = FastAPI()
managers = defaultdict(ConnectionManager)


@app.websocket("/ws/chat/{room}/")
async def websocket_endpoint(websocket: WebSocket, room: str):
    manager = managers[room]
    await manager.connect(websocket)
    try:
        while True:
            event = await websocket.receive_json()
            await manager.broadcast(json.dumps({"message": event["message"]}))
    except WebSocketDisconnect:
        manager.disconnect(websocket)
