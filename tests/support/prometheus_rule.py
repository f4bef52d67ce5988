"""Write the PrometheusRule of deploy/kubernetes from the rules of deploy/prometheus, which are the one source:

``python -m tests.support.prometheus_rule``
"""

from __future__ import annotations

from tests.support.documents import ROOT, text_of

__all__ = ["RULE", "rule_text"]

RULE = ROOT / "deploy" / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
_SOURCES = [ROOT / "deploy" / "prometheus" / name for name in ("recording.yml", "alerts.yml")]
_HEAD = """\
# Generated from recording.yml and alerts.yml in deploy/prometheus by `make rules`. Change those, not this file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: anomaly-vae
  labels:
    app.kubernetes.io/name: anomaly-vae
spec:
  groups:
"""


def rule_text() -> str:
    """Return the text that the file should have: both lists of groups, indented, with their comments."""
    groups = "\n".join(text_of(path).partition("\ngroups:\n")[2] for path in _SOURCES)
    return _HEAD + "".join(f"  {line}" if line.strip() else line for line in groups.splitlines(keepends=True))


if __name__ == "__main__":
    RULE.write_text(rule_text(), encoding="utf-8")
