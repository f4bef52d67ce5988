"""The audit log."""

import logging

from anomaly_vae.service.models.audit import audit


def test_a_change_is_a_sentence_and_fields_without_those_that_are_empty(caplog):
    with caplog.at_level(logging.INFO, "anomaly_vae.audit"):
        audit("loaded", "fraud", "4", by="poll", digest="0123456789abcdef")
        audit("refused", "fraud", "5", by="token:ops", why="encoder.onnx: too long")
    first, second = caplog.records
    assert first.getMessage() == "loaded fraud version 4, bundle 0123456789ab, by poll"
    assert first.fields == {"event": "audit", "change": "loaded", "model_name": "fraud", "model_version": "4",
                            "bundle_digest": "0123456789abcdef", "by": "poll"}  # fmt: skip
    assert (first.levelno, second.levelno) == (logging.INFO, logging.ERROR)
    assert second.getMessage() == "refused fraud version 5, by token:ops: encoder.onnx: too long"


def test_it_is_written_whatever_the_level_of_the_log():
    logger, level = logging.getLogger("anomaly_vae"), logging.getLogger("anomaly_vae").level
    try:
        logger.setLevel(logging.ERROR)
        assert logging.getLogger("anomaly_vae.audit").isEnabledFor(logging.INFO)
    finally:
        logger.setLevel(level)
