"""Settings on their way to a worker."""

import json
from pathlib import Path

from anomaly_vae.service.settings import ServeConfig, settings
from anomaly_vae.service.supervisor.config_message import config_from_message, config_message


def test_settings_survive_the_way_through_json():
    config = ServeConfig(
        model=Path("models/fraud"), workers=3, token_file=Path("tokens"), max_queue_seconds=0.1, canary=("a=4:0.05",)
    )
    message = json.loads(json.dumps(config_message(config)))
    assert message.keys() == {"model", *(setting.field for setting in settings())}
    assert config_from_message(message) == config
