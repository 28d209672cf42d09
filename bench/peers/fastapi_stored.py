"""Chat of FastAPI, SQLAlchemy and asyncpg: messages are numbered by room without a gap, and a ref is stored once."""

import json
import os
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import BigInteger, DateTime

engine = create_async_engine(os.environ["DATABASE_URL"].replace("://", "+asyncpg://"), pool_size=16)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


class Room(Base):
    __tablename__ = "room"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    seq: Mapped[int] = mapped_column(BigInteger)


class Message(Base):
    __tablename__ = "message"
    __table_args__ = (UniqueConstraint("room_id", "seq"), UniqueConstraint("room_id", "user", "ref"))

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("room.id"))
    seq: Mapped[int] = mapped_column(BigInteger)
    user: Mapped[str]
    ref: Mapped[str]
    text: Mapped[str]
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))

    def event(self) -> str:
        fields = {"seq": self.seq, "ref": self.ref, "user": self.user, "text": self.text, "at": self.at.isoformat()}
        return json.dumps({"type": "message", **fields})


@asynccontextmanager
async def lifespan(_: FastAPI):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
members: defaultdict[str, list[WebSocket]] = defaultdict(list)


async def store(room: str, user: str, ref: str, text: str) -> tuple[Message, bool]:
    """Store a message as the next of its room. Return it and True, or the stored one and False."""
    try:
        async with sessions.begin() as session:
            number = insert(Room).values(name=room, seq=1)
            number = number.on_conflict_do_update(index_elements=[Room.name], set_={"seq": Room.seq + 1})
            room_id, seq = (await session.execute(number.returning(Room.id, Room.seq))).one()
            message = Message(room_id=room_id, seq=seq, user=user, ref=ref, text=text, at=datetime.now(UTC))
            session.add(message)
        return message, True
    except IntegrityError:
        async with sessions() as session:
            same = select(Message).join(Room).where(Room.name == room, Message.user == user, Message.ref == ref)
            return (await session.execute(same)).scalar_one(), False


@app.websocket("/ws/chat/{room}/")
async def chat(websocket: WebSocket, room: str):
    await websocket.accept()
    members[room].append(websocket)
    user = str(id(websocket))
    try:
        while True:
            event = await websocket.receive_json()
            message, new = await store(room, user, event["ref"], event["text"])
            text = message.event()
            for member in list(members[room]) if new else [websocket]:
                with suppress(RuntimeError, WebSocketDisconnect):  # of a member that is leaving
                    await member.send_text(text)
    except WebSocketDisconnect:
        pass
    finally:
        members[room].remove(websocket)
