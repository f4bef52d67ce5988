"""Texts that must stay texts on a page, such as names of columns."""

__all__ = ["HOSTILE"]

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "{{7*7}}{% raw %}",
    "</svg></style><!--",
    "&lt;b&gt;&amp;",
    "a" * 2000,
    "שלום עולם",
    "\u202eabc\x00\x1b[31m\ud800",
    "javascript:alert(1)",
)
