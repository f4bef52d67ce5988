"""Requests and answers over a pair of sockets."""

import asyncio
import contextlib
import math
import socket

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.supervisor.channel import Channel, ChannelError


@contextlib.asynccontextmanager
async def connected(handle, other=None):
    """Open a channel and its other end, which handles the requests."""

    async def refuse(kind, content):
        raise ConfigError("nothing is handled here")

    ends = socket.socketpair()
    ours, theirs = Channel(ends[0], other or refuse), Channel(ends[1], handle)
    reading = [asyncio.create_task(channel.read(await channel.open())) for channel in (ours, theirs)]
    yield ours, theirs
    ours.close()
    theirs.close()
    await asyncio.gather(*reading)


def test_answers_of_any_size_come_back_in_any_order():
    async def main():
        later = asyncio.Event()

        async def handle(kind, content):
            if kind == "slow":
                await later.wait()
            later.set()
            return {"kind": kind, **content}

        async with connected(handle) as (channel, _):
            slow = asyncio.create_task(channel.request("slow", {"values": [math.inf, 0.1, -math.inf]}))
            big = await channel.request("quick", {"text": "é\n" * 1_000_000})
            assert big == {"kind": "quick", "text": "é\n" * 1_000_000}
            assert await slow == {"kind": "slow", "values": [math.inf, 0.1, -math.inf]}

    asyncio.run(main())


def test_both_ends_may_ask_within_an_answer():
    async def main():
        async def ask_back(kind, content):
            return await ends[1].request("back") + 1

        async def answer(kind, content):
            return 41

        async with connected(ask_back, answer) as ends:
            assert await ends[0].request("there") == 42

    asyncio.run(main())


def test_errors_of_ours_keep_their_text_and_faults_do_not():
    async def main():
        async def handle(kind, content):
            raise ConfigError("threads must be 1") if kind == "ours" else KeyError("a value of a row")

        async with connected(handle) as (channel, _):
            with pytest.raises(ChannelError, match=r"^threads must be 1$"):
                await channel.request("ours")
            with pytest.raises(ChannelError, match=r"^internal error: KeyError; the log"):
                await channel.request("fault")

    asyncio.run(main())


def test_requests_fail_when_the_other_end_is_gone_or_silent():
    async def main():
        never = asyncio.Event()

        async def handle(kind, content):
            await never.wait()

        async with connected(handle) as (channel, other):
            with pytest.raises(ChannelError, match=r"no answer to check within 0.01 s"):
                await channel.request("check", seconds=0.01)
            waiting = asyncio.create_task(channel.request("check"))
            await asyncio.sleep(0)
            other.close()
            with pytest.raises(ChannelError, match="has ended"):
                await waiting
            with pytest.raises(ChannelError, match="has ended"):
                await channel.request("check")
            never.set()

    asyncio.run(main())


def test_what_is_no_json_ends_the_channel():
    async def main():
        ours, theirs = socket.socketpair()
        channel = Channel(ours, None)
        reading = asyncio.create_task(channel.read(await channel.open()))
        theirs.sendall(b"hello\n")
        await reading
        assert theirs.recv(1) == b""
        theirs.close()

    asyncio.run(main())
