"""Messages to the only worker."""

import asyncio

import pytest

from anomaly_vae.errors import ConfigError
from anomaly_vae.service.peers import Alone, Answer


def test_a_process_that_serves_alone_answers_its_own_messages():
    async def main():
        alone = Alone()

        async def load(content):
            if not content["name"]:
                raise ConfigError("a name is needed")
            return {"loaded": content["name"]}

        alone.handle("load", load)
        assert await alone.broadcast("load", {"name": "fraud"}) == [Answer(0, {"loaded": "fraud"})]
        with pytest.raises(ConfigError, match="a name is needed"):
            await alone.broadcast("load", {"name": ""})

    asyncio.run(main())
