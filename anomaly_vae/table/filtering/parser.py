"""From the text of a filter to its tree, by recursive descent. Nothing in the text is ever run.

::

    filter  = both {OR both}        both = one {AND one}        one = NOT one | ( filter ) | test
    test    = NAME [NOT] (IN ( value {, value} ) | BETWEEN value AND value | LIKE TEXT)
            | NAME IS [NOT] NULL | NAME mark value | value mark NAME | NAME
"""

from __future__ import annotations

from typing import cast

from anomaly_vae.errors import ConfigError
from anomaly_vae.table.filtering.tokens import Token, mistake, tokens_of
from anomaly_vae.table.filtering.tree import And, Check, Node, Not, Operator, Or, Value

__all__ = ["parse_filter"]

_SAME = {"==": "=", "<>": "!="}
_MARKS = frozenset({"=", "==", "!=", "<>", "<", "<=", ">", ">="})
_TURNED: dict[str, str] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}

# The most levels of parentheses and NOT. Chosen, not measured: far more than people write, and within Python's stack.
_MOST_LEVELS = 50


def parse_filter(filter_: str) -> Node:
    """Return the tree of a filter.

    Raises:
        ConfigError: The text is no filter; the message shows the place of the first mistake.
    """
    return _Parser(filter_).whole()


class _Parser:
    def __init__(self, filter_: str) -> None:
        self._filter, self._tokens, self._next, self._levels = filter_, tokens_of(filter_), 0, 0

    def whole(self) -> Node:
        node = self._either()
        if self._token.kind != "end":
            raise self._mistake("expected AND, OR or the end")
        return node

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _mistake(self, what: str, token: Token | None = None) -> ConfigError:
        return mistake(self._filter, (token or self._token).start, what)

    def _take(self, kind: str, *texts: str) -> Token | None:
        """Return the next token and go on, if it is one of these."""
        token = self._token
        if token.kind != kind or (texts and token.text not in texts):
            return None
        self._next += 1
        return token

    def _need(self, kind: str, text: str) -> None:
        if self._take(kind, text) is None:
            raise self._mistake(f"expected {text}")

    def _either(self) -> Node:
        parts = [self._both()]
        while self._take("word", "OR"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self) -> Node:
        parts = [self._one()]
        while self._take("word", "AND"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self) -> Node:
        self._levels += 1
        if self._levels > _MOST_LEVELS:
            raise self._mistake(f"more than {_MOST_LEVELS} levels of parentheses and NOT")
        if self._take("word", "NOT"):
            node: Node = Not(self._one())
        elif self._take("mark", "("):
            node = self._either()
            self._need("mark", ")")
        else:
            node = self._test()
        self._levels -= 1
        return node

    def _test(self) -> Node:
        name = self._take("name")
        if name is None:
            return self._turned()
        if mark := self._take("mark", *_MARKS):
            return Check(name.text, _operator(mark.text), (self._value(),))
        if self._take("word", "IS"):
            is_not = self._take("word", "NOT")
            self._need("word", "NULL")
            return _negated(Check(name.text, "null", ()), is_not)
        is_not = self._take("word", "NOT")
        if self._take("word", "IN"):
            return _negated(Check(name.text, "in", self._values()), is_not)
        if self._take("word", "BETWEEN"):
            low = self._value()
            self._need("word", "AND")
            parts = Check(name.text, ">=", (low,)), Check(name.text, "<=", (self._value(),))
            return _negated(And(parts), is_not)
        if self._take("word", "LIKE"):
            pattern = self._take("text")
            if pattern is None:
                raise self._mistake("expected a 'text' after LIKE")
            return _negated(Check(name.text, "like", (pattern.text,)), is_not)
        if is_not:
            raise self._mistake("expected IN, BETWEEN or LIKE after NOT")
        return Check(name.text, "=", (True,))

    def _turned(self) -> Node:
        """Read a test whose value comes first."""
        start = self._token
        value = self._value("expected the name of a column")
        mark = self._take("mark", *_MARKS)
        if mark is None:
            raise self._mistake("expected a comparison such as = after a value; a name with spaces is in double quotes")
        name = self._take("name")
        if name is None:
            raise self._mistake("a filter compares columns with values, and here are two values", start)
        operator = _operator(mark.text)
        return Check(name.text, cast(Operator, _TURNED.get(operator, operator)), (value,))

    def _values(self) -> tuple[Value, ...]:
        self._need("mark", "(")
        values = [self._value()]
        while self._take("mark", ","):
            values.append(self._value())
        self._need("mark", ")")
        return tuple(values)

    def _value(self, otherwise: str = "expected a number, a 'text', TRUE or FALSE") -> Value:
        start = self._token
        if text := self._take("text"):
            return text.text
        if word := self._take("word", "TRUE", "FALSE"):
            return word.text == "TRUE"
        sign = self._take("mark", "+", "-")
        if number := self._take("number"):
            return -number.number if sign and sign.text == "-" else number.number
        if start.kind == "word" and start.text == "NULL":
            raise self._mistake("nothing equals NULL; write IS NULL or IS NOT NULL", start)
        if start.kind == "name" and not otherwise.startswith("expected the name"):
            otherwise += "; texts are in single quotes, and columns are compared with values only"
        raise self._mistake(otherwise, start)


def _operator(mark: str) -> Operator:
    return cast(Operator, _SAME.get(mark, mark))


def _negated(node: Node, is_not: Token | None) -> Node:
    return Not(node) if is_not else node
