"""Files as people have them: each trains a model and is scored, or is refused with one message that has a remedy.

Every file is given to the command line as it is. The changed day is another file of the same kind with new rows.
"""

from __future__ import annotations

import datetime
import decimal
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
from sklearn.datasets import load_iris, load_wine

from tests.support.command_line import in_process, one_line
from tests.support.table_files import ROWS, csv, days, frame, saved

# The process of a refused file ends, and closes it; here the process goes on.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")

BASE = "x continuous, y continuous, n integer, city categorical"


class Case(NamedTuple):
    """A file.

    Attributes:
        file: Its name.
        write: Writes it for a day, 0 or 1.
        columns: The columns of the model and their kinds; empty if the file is refused.
        says: Parts of what the training says, or of the refusal.
        options: Options of both commands that say how to read it.
        training: Further options of the training.
        flags: The largest share of flagged rows; the model is barely trained, on 5 steps.
        warns: What is said before a refusal.
    """

    file: str
    write: Callable[[Path, int], object]
    columns: str = BASE
    says: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    flags: float = 0.3
    warns: str = ""


def text(template):
    """Return a writer of a text that is the same every day."""
    return lambda path, day: path.write_text(template)


def data(content):
    return lambda path, day: path.write_bytes(content)


def with_cells(name, make):
    """Return a change that adds a column of the cells that ``make`` makes from the random numbers of a day."""
    return lambda table, day: table.assign(**{name: make(np.random.default_rng(day + 100), len(table))})


def amounts(form):
    def make(rng, num_rows):
        return [form(value) for value in rng.lognormal(7.0, 1.5, num_rows)]

    return with_cells("amount", make)


def dates(form):
    return lambda table, day: table.assign(when=[moment.strftime(form) for moment in days(day)])


def german(value):
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def part_files(folder, place=""):
    """Return a writer of three files in a folder, each in a folder of its own if ``place`` is its name."""

    def write(day):
        for i in range(3):
            part = folder / place.format(i)
            part.mkdir(parents=True, exist_ok=True)
            frame(day)[i::3].to_csv(part / f"part-{i}.csv", index=False)

    return write


def spreadsheet(path, day):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr("xl/workbook.xml", "<workbook/>")


def database(path, day):
    with sqlite3.connect(path) as connection:
        frame(day).to_sql("t", connection, index=False)
    connection.close()


def records(path, day):
    table = frame(day)
    np.save(path, table.astype({"city": "U8"}).to_records(index=False, column_dtypes={"city": "U8"}))


def arrow(make):
    """Return a writer of Parquet with further Arrow columns."""

    def write(path, day):
        table = pa.Table.from_pandas(frame(day), preserve_index=False)
        for name, column in make(np.random.default_rng(day), len(table)).items():
            table = table.append_column(name, column)
        pq.write_table(table, path)

    return write


def nested(rng, n):
    return {
        "tags": pa.array([["a", "b"]] * n),
        "place": pa.array([{"lat": 1.0, "lon": 2.0}] * n),
        "raw": pa.array([b"\x00\x01"] * n, pa.binary()),
    }


def typed(rng, n):
    return {
        "price": pa.array([decimal.Decimal(f"{value:.2f}") for value in rng.lognormal(3, 1, n)], pa.decimal128(12, 2)),
        "shop": pa.array(rng.choice(["a", "b"], n)).dictionary_encode(),
        "wait": pa.array((1e6 * rng.exponential(60, n)).astype(np.int64), pa.duration("us")),
        "at": pa.array(days().to_numpy().astype("datetime64[us]")),
        "open": pa.array([datetime.time(int(hour), 30) for hour in rng.integers(0, 24, n)]),
    }


def unusable(path, day):
    rng = np.random.default_rng(day)
    columns = {f"note{i}": [f"{rng.integers(10**9):x} text" for _ in range(ROWS)] for i in range(30)}
    columns |= {f"empty{i}": [None] * ROWS for i in range(10)}
    columns |= {f"id{i}": range(ROWS) for i in range(10)}
    pd.DataFrame(columns).to_csv(path, index=False)


def missing_keys(path, day):
    rows = frame(day).to_dict("records")
    for i in range(3, ROWS, 5):
        del rows[i][("x", "n", "city")[i % 3]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edited(change):
    """Return a writer of CSV as text that is changed."""
    return lambda path, day: path.write_text(change(frame(day).to_csv(index=False)))


def gaps(*texts):
    """Return a change that adds a column of numbers in which every fifth cell is one of the texts."""

    def make(rng, num_rows):
        values = np.round(rng.normal(size=num_rows), 2).tolist()
        return [texts[i // 5 % len(texts)] if i % 5 == 0 else value for i, value in enumerate(values)]

    return with_cells("v", make)


def choices(*values):
    """Return a change that adds a column of these values."""
    return with_cells("v", lambda rng, num_rows: [values[i] for i in rng.integers(len(values), size=num_rows)])


def matrix(path, day):
    np.save(path, frame(day)[["x", "y", "n"]].to_numpy(np.float32))


def objects(path, day):
    np.save(path, frame(day).to_numpy(object), allow_pickle=True)


def near_miss(path, day):
    path.with_name("tt.csv").write_text("a\n1\n")


def model_folder(path, day):
    path.mkdir()
    (path / "manifest.json").write_text("{}")


def dataset(table):
    """Return a writer of one half of a data set for each day."""
    shuffled = table.sample(frac=1, random_state=0)[:300]
    return lambda path, day: shuffled[day::2].to_csv(path, index=False)


IRISES = "sepal length (cm) continuous, sepal width (cm) continuous, petal length (cm) continuous, petal width (cm) "
IRISES += "continuous, target integer"
WINES = "alcohol continuous, malic_acid continuous, ash continuous, alcalinity_of_ash continuous, magnesium integer, "
WINES += (
    "total_phenols continuous, flavanoids continuous, nonflavanoid_phenols continuous, proanthocyanins continuous, "
)
WINES += "color_intensity continuous, hue continuous, od280/od315_of_diluted_wines continuous, proline integer"
AFFAIRS = "rate_marriage integer, age continuous, yrs_married continuous, children continuous, religious integer, educ "
AFFAIRS += "integer, occupation integer, occupation_husb integer, affairs continuous"
VOTERS = (
    "popul integer, TVnews integer, selfLR integer, ClinLR integer, DoleLR integer, PID integer, age integer, educ "
)
VOTERS += "integer, income integer, vote binary, logpopul continuous"

CASES: dict[str, Case] = {
    "commas": Case("t.csv", csv()),
    "tabs": Case("t.tsv", csv(sep="\t")),
    "tabs with the ending of commas": Case("t.csv", csv(sep="\t"), says=("cells separated by tabs",)),
    "semicolons and decimal commas": Case(
        "t.csv",
        csv(sep=";", decimal=","),
        says=("cells separated by ';', decimal commas", "column 'x' holds numbers such as '0,126': read with decimal"),
    ),
    "spaces that the user names": Case(
        "t.csv", edited(lambda text: text.replace(",", " ")), options=("--sep", "space")
    ),
    "pipes": Case("t.txt", csv(sep="|"), says=("cells separated by '|'",)),
    "an index without a name": Case(
        "t.csv", csv(index=True), says=("column number 1 has no name: left out; to train",)
    ),
    "an index that was saved twice": Case(
        "t.csv",
        csv(lambda table, day: table.reset_index(names="Unnamed: 0"), index=True),
        says=(
            "column number 1 has no name: left out",
            "column 'Unnamed: 0' numbers the rows (0, 1, 2, ...): left out",
            '[columns] "Unnamed: 0" = "integer"',
        ),
    ),
    "separators and line ends in quotes": Case(
        "t.csv",
        csv(with_cells("note", lambda rng, n: rng.choice(["a, b", "c\nd", 'e "f"'], n))),
        columns=f"{BASE}, note categorical",
    ),
    "a byte order mark": Case("t.csv", csv(encoding="utf-8-sig")),
    "UTF-16": Case("t.csv", csv(encoding="utf-16"), says=("encoding UTF-16",)),
    "Latin-1": Case("t.csv", csv(encoding="latin-1"), says=("encoding Windows-1252",)),
    "Latin-1 by name": Case("t.csv", csv(encoding="latin-1"), options=("--encoding", "latin-1")),
    "line ends of Windows": Case("t.csv", csv(lineterminator="\r\n")),
    "no line end at the end": Case("t.csv", edited(lambda text: text.rstrip("\n"))),
    "a separator at the end of each line": Case("t.csv", edited(lambda text: text.replace("\n", ",\n"))),
    "the line of Excel about the separator": Case("t.csv", edited(lambda text: "sep=,\n" + text)),
    "gzip": Case("t.csv.gz", saved("gzip")),
    "zstd": Case("t.csv.zst", saved("zstd")),
    "no ending": Case("table", csv()),
    "Parquet": Case("t.parquet", saved("parquet")),
    "Parquet with the ending of CSV": Case(
        "t.csv", saved("parquet"), says=("is a Parquet file, and is read as such; rename it",)
    ),
    "Feather": Case("t.feather", saved("feather")),
    "an Arrow stream": Case("t.arrows", saved("stream")),
    "JSON lines": Case("t.jsonl", saved("pandas jsonl")),
    "JSON lines with nested values": Case(
        "t.jsonl",
        saved("jsonl", lambda table, day: table.assign(tags=[["a"]] * ROWS, place=[{"a": 1}] * ROWS)),
        says=(
            "'tags' holds nested values (arrays): left out",
            "'place' holds nested values (objects): left out; write",
        ),
    ),
    "JSON lines with missing keys": Case("t.jsonl", missing_keys),
    "a matrix of numpy": Case("t.npy", matrix, columns="x0 continuous, x1 continuous, x2 integer"),
    "records of numpy": Case("t.npy", records),
    "dates": Case(
        "t.csv",
        csv(dates("%Y-%m-%d")),
        columns=f"{BASE}, when.day_of_week cyclic",
        says=("column 'when' holds dates and times: the model learns day of week\n",),
    ),
    "times with a zone": Case(
        "t.csv",
        csv(dates("%Y-%m-%dT%H:%M:%S+01:00")),
        columns=f"{BASE}, when.time_of_day cyclic, when.day_of_week cyclic",
        says=("the model learns time of day and day of week in +01:00",),
    ),
    "dates with the day first": Case(
        "t.csv", csv(dates("%d.%m.%Y")), columns=f"{BASE}, when.day_of_week cyclic", says=("holds dates and times",)
    ),
    "dates with the month first, as other cells show": Case(
        "t.csv", csv(dates("%m/%d/%Y")), columns=f"{BASE}, when.day_of_week cyclic", says=("holds dates and times",)
    ),
    "times of day": Case(
        "t.csv",
        csv(dates("%I:%M %p")),
        columns=f"{BASE}, when.time_of_day cyclic",
        says=("column 'when' holds times of day\n",),
    ),
    "dates of which day and month are open": Case(
        "t.csv",
        csv(with_cells("when", lambda rng, n: [f"0{a}/0{b}/2024" for a, b in rng.integers(1, 10, (n, 2))])),
        says=("column 'when' holds dates such as '07/08/2024', which may be day/month or month/day (write them as",),
    ),
    "times of which some have a zone": Case(
        "t.csv",
        csv(with_cells("when", lambda rng, n: [f"2024-01-{i % 28 + 1:02d} 10:00{'Z' * (i % 2)}" for i in range(n)])),
        says=(
            "column 'when' holds times of which some have a time zone and others have none (write all of them in one "
            "way): left out",
        ),
    ),
    "dates with the names of months": Case(
        "t.csv",
        csv(dates("%d %b %Y")),
        says=(
            "column 'when' holds dates such as '01 Jan 2024', a form that is not read (write them as YYYY-MM-DD): left",
        ),
    ),
    "dates with years of two digits": Case("t.csv", csv(dates("%d/%m/%y")), says=("a form that is not read (write",)),
    "months": Case("t.csv", csv(dates("%Y-%m")), says=("such as '2024-01', a form that is not read",)),
    "dates in two forms": Case(
        "t.csv",
        csv(
            with_cells(
                "when", lambda rng, n: [f"{moment:{('%Y-%m-%d', '%d/%m/%Y')[moment.day % 2]}}" for moment in days()]
            )
        ),
        says=("column 'when' holds dates such as '01/01/2024', in several forms (write them as YYYY-MM-DD): left out",),
    ),
    "dates as whole numbers": Case(
        "t.csv",
        csv(dates("%Y%m%d")),
        says=(
            "column 'when' holds whole numbers that seem to be dates (20240101 to 20240223): left out; write times as "
            "2024-01-31 13:45:00; to train on it, name it in --columns, or set [columns]",
        ),
    ),
    "seconds since 1970": Case(
        "t.csv",
        csv(lambda table, day: table.assign(at=[int(moment.timestamp()) for moment in days(day).sort_values()])),
        says=("column 'at' holds whole numbers that seem to be times since 1970 (17",),
    ),
    "one day": Case(
        "t.csv",
        csv(with_cells("when", lambda rng, n: [f"2024-01-31 {i % 24:02d}:00" for i in range(n)])),
        says=("too few days to learn times of day or days of the week: left out; to learn the trend itself, set",),
    ),
    "dollars": Case(
        "t.csv",
        csv(amounts(lambda value: f"${value:,.2f}")),
        columns=f"{BASE}, amount continuous",
        says=("holds numbers such as '$193.19': read with decimal mark '.', thousands mark ',', without $\n",),
    ),
    "euros as in Germany": Case(
        "t.csv",
        csv(amounts(lambda value: f"{german(value)} €"), sep=";", decimal=","),
        columns=f"{BASE}, amount continuous",
        says=("holds numbers such as '193,19 €': read with decimal mark ',', thousands mark '.', without €\n",),
    ),
    "thousands": Case(
        "t.csv",
        csv(amounts(lambda value: f"{value:,.0f}")),
        columns=f"{BASE}, amount integer",
        says=("read with decimal mark '.', thousands mark ','\n",),
    ),
    "percent": Case(
        "t.csv",
        csv(amounts(lambda value: f"{value / 100:.1f} %")),
        columns=f"{BASE}, amount continuous",
        says=("read with decimal mark '.', without %\n",),
    ),
    "brackets of accountants": Case(
        "t.csv",
        csv(amounts(lambda value: f"({value:,.2f})" if value < 1000 else f"{value:,.2f}")),
        columns=f"{BASE}, amount continuous",
        says=("thousands mark ',', without ()\n",),
    ),
    "two currencies": Case(
        "t.csv",
        csv(amounts(lambda value: f"{'$' if value < 1000 else '€'}{value:.2f}")),
        says=("column 'amount' holds 128 different texts in 128 rows", "(at most one for 2 rows): left out"),
    ),
    "a minus of print": Case(
        "t.csv",
        csv(with_cells("v", lambda rng, n: [f"{v:.1f}".replace("-", "\u2212") for v in rng.normal(2.0, 1.0, n)])),
        columns=f"{BASE}, v continuous",
    ),
    "unknown among numbers": Case("t.csv", csv(gaps("unknown", "?", "-", ".")), columns=f"{BASE}, v continuous"),
    "all ways to say that a cell is missing": Case(
        "t.csv",
        csv(gaps("", "NA", "N/A", "null", "None", "NaN", "#N/A", "<NA>", "n.a.", "\\N")),
        columns=f"{BASE}, v continuous",
    ),
    "a number that means a missing cell": Case(
        "t.csv", csv(gaps(9999)), columns=f"{BASE}, v continuous", training=("--missing-values", "9999,absent")
    ),
    "true and false": Case("t.csv", csv(choices(True, False)), columns=f"{BASE}, v binary"),
    "yes and no": Case("t.csv", csv(choices("yes", "no")), columns=f"{BASE}, v categorical"),
    "leading zeros": Case(
        "t.csv",
        csv(choices("01234", "90210", "00501")),
        columns=f"{BASE}, v categorical",
        says=("holds numbers with leading zeros such as '0", 'to change that, set [columns] v = "continuous"'),
    ),
    "whole numbers beyond 2^53": Case(
        "t.csv",
        csv(choices(2**60 + 1, 2**60 + 3)),
        columns=f"{BASE}, v categorical",
        says=("holds whole numbers beyond 2^53, which float64 would round: read as categories\n",),
    ),
    "identifiers": Case(
        "t.csv",
        csv(with_cells("user_id", lambda rng, n: rng.permutation(10**6)[:n])),
        says=("holds a different whole number in every row and is named like an identifier: left out; to train",),
    ),
    "identifiers beyond 2^53": Case(
        "t.csv",
        csv(with_cells("key", lambda rng, n: [2**60 + 1 + i for i in range(n)])),
        says=("column 'key' holds 128 different texts in 128 rows, such as '1152921504606846977': names or free text",),
    ),
    "identifiers that the user wants": Case(
        "t.csv",
        csv(with_cells("user_id", lambda rng, n: rng.permutation(10**6)[:n])),
        columns="x continuous, user_id integer",
        training=("--columns", "x,user_id"),
    ),
    "free text": Case(
        "t.csv",
        csv(with_cells("note", lambda rng, n: [f"{v:x} is late" for v in rng.integers(10**9, size=n)])),
        says=("column 'note' holds 128 different texts in 128 rows", "names or free text, not categories"),
    ),
    "an empty column": Case(
        "t.csv", csv(choices(None)), says=("column 'v' is empty in all 128 training rows: left out",)
    ),
    "a constant column": Case(
        "t.csv",
        csv(choices(7)),
        columns=f"{BASE}, v constant",
        says=("column 'v' is always 7.0: not modelled, and a row with another value is flagged",),
    ),
    "typed columns of Arrow": Case(
        "t.parquet",
        arrow(typed),
        columns=f"{BASE}, price continuous, shop categorical, wait continuous, at.time_of_day cyclic, "
        "at.day_of_week cyclic, open.time_of_day cyclic",
        says=("column 'open' holds times of day",),
    ),
    "nested columns of Arrow": Case(
        "t.parquet",
        arrow(nested),
        says=(
            "column 'tags' holds list<element: string> values: left out",
            "column 'place' holds struct<lat: double, lon: double> values: left out",
            "column 'raw' holds binary values: left out",
        ),
    ),
    "a folder": Case("d", lambda path, day: part_files(path)(day), says=("d/: 3 files",)),
    "a folder with partitions": Case(
        "d", lambda path, day: part_files(path, "region=r{}")(day), f"{BASE}, region categorical", says=("3 files",)
    ),
    "a pattern": Case("d/*.csv", lambda path, day: part_files(path.parent)(day), says=("*.csv: 3 files",)),
    "the irises": Case("t.csv", dataset(load_iris(as_frame=True).frame), IRISES),
    "the wines": Case("t.csv", dataset(load_wine(as_frame=True).data), WINES, flags=0.5),
    "the affairs": Case("t.csv", dataset(sm.datasets.fair.load_pandas().data), AFFAIRS),
    "the voters": Case("t.csv", dataset(sm.datasets.anes96.load_pandas().data), VOTERS),
    "the students, with an index": Case(
        "t.csv",
        lambda path, day: sm.datasets.spector.load_pandas().data.to_csv(path),
        columns="GPA continuous, TUCE integer, PSI binary, GRADE binary",
        says=("column number 1 has no name: left out", "6 calibration rows are too few for target_fpr 0.1"),
    ),
    "the sunspots by year": Case(
        "t.csv",
        lambda path, day: sm.datasets.sunspots.load_pandas().data.to_csv(path, index=False),
        columns="SUNACTIVITY continuous",
        says=(
            "column 'YEAR' numbers the rows (1700, 1701, 1702, ...): left out; to train on it, name it in --columns",
        ),
    ),
}

REFUSED: dict[str, Case] = {
    "lines before the header": Case(
        "t.csv",
        edited(lambda text: f"My report\n\n{text}"),
        says=("no column is left to train on: column 'My report' holds 1",),
        warns="one column, 'My report', with cells such as 'x,y,n,city'; the first line must be the header",
    ),
    "cells separated by spaces": Case(
        "t.csv",
        edited(lambda text: text.replace(",", " ")),
        says=("no column is left to train on: column 'x y n city' holds 1",),
        warns="one column, 'x y n city', with cells such as '0.126 100.8 4 Zürich'; the first line must be the header",
    ),
    "objects of numpy": Case(
        "t.npy", objects, says=("holds Python objects, which only pickle can read; save numbers",)
    ),
    "a spreadsheet": Case("t.xlsx", spreadsheet, says=("is a spreadsheet; convert it first: python -c", "read_excel(")),
    "a spreadsheet with the ending of CSV": Case("t.csv", spreadsheet, says=("is a spreadsheet; convert it first",)),
    "a pickle": Case("t.pkl", saved("pickle"), says=("is a pickle, and reading one can run code; save the table as",)),
    "a database": Case("t.db", database, says=("is a database; export the table as CSV first: sqlite3",)),
    "a JSON array": Case(
        "t.json",
        lambda path, day: frame().to_json(path, orient="records"),
        says=("is one JSON array; convert it first", "to_json("),
    ),
    "two columns of one name": Case(
        "t.csv", text("a,b,a\n1,2,3\n4,5,6\n"), says=("column 'a' appears 2 times; rename all but one",)
    ),
    "an empty file": Case("t.csv", text(""), says=("is empty; expected a header line with the names of the columns",)),
    "a header alone": Case("t.csv", text("a,b\n"), says=("t.csv: holds no rows to train on",)),
    "one row": Case("t.csv", text("a,b\n1,2\n"), says=("got n_samples=1 normal rows, training needs at least 10",)),
    "binary data": Case("t.csv", data(bytes(range(256)) * 50), says=("holds binary data, not text; expected a table",)),
    "an empty folder": Case(
        "d", lambda path, day: path.mkdir(), says=("holds no files; expected tables such as .csv",)
    ),
    "a model": Case("d", model_folder, says=("is a model",)),
    "fifty columns that cannot be used": Case(
        "t.csv",
        unusable,
        says=(
            "no column is left to train on: ",
            *(f"'{name}{i}' " for name in ("note", "id", "empty") for i in range(9)),
        ),
    ),
    "fifty columns, strictly": Case(
        "t.csv",
        csv(lambda table, day: table.assign(**{f"note{i}": [f"{i}-{j} text" for j in range(ROWS)] for i in range(50)})),
        says=("50 columns cannot be used (--strict): ", *(f"column 'note{i}' " for i in range(50))),
        training=("--strict",),
    ),
    "no such file": Case("t.csv", near_miss, says=("t.csv: no such file; did you mean ", "tt.csv?")),
    "only constants": Case("t.csv", text("a,b\n" + "1,x\n" * 50), says=("hold one single value in the 40 training",)),
    "cells of which none is a number": Case(
        "t.csv",
        text("a,bad\n" + "1,x\n" * 50),
        says=("--label bad: expected 0 (normal) or 1 (anomaly) in every row, found text: 'x' is not a number",),
        training=("--label", "bad"),
    ),
}

# A model that is barely trained: what counts here is which columns it has and that they are read.
QUICK = ("--search", "off", "--max-steps", "5", "--hidden", "8", "--latent-dim", "1", "--target-fpr", "0.1", "--force")


def written(folder, case, day):
    (folder / str(day)).mkdir()
    path = folder / str(day) / case.file
    case.write(path, day)
    return path


def train(path, case, model):
    return in_process("train", path, "-o", model, "--json", *QUICK, *case.options, *case.training)


@pytest.mark.parametrize("name", CASES)
def test_a_file_trains_a_model_that_scores_it_and_the_next_day(tmp_path, name):
    case, model = CASES[name], tmp_path / "model"
    first = written(tmp_path, case, 0)
    done = train(first, case, model)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert ", ".join(f"{column['name']} {column['kind']}" for column in facts["columns"]) == case.columns
    for part in case.says:
        assert part in done.stderr
    expected = bool(case.says) or "release gate failed" in done.stderr
    assert ("anomaly-vae: " in done.stderr) == expected, done.stderr  # what is not worth a word gets none
    for path in (first, written(tmp_path, case, 1)):
        output = tmp_path / "scores.csv"
        done = in_process("score", model, path, "-o", output, "--json", "--strict", "--overwrite", *case.options)
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert facts["unscored"] == {}
        assert facts["anomalies"] <= case.flags * facts["rows"]
        assert facts["rows"] > 0


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_with_a_remedy(tmp_path, name):
    case = REFUSED[name]
    path = written(tmp_path, case, 0)
    done = train(path, case, tmp_path / "model")
    one_line(done, 2, *case.says)
    assert case.warns in done.stderr
    assert len(done.stderr.splitlines()) == 1 + bool(case.warns)
    assert "internal error" not in done.stderr
    assert not (tmp_path / "model").exists()


def test_a_file_without_a_header_is_a_warning_and_the_next_day_names_all_columns(tmp_path):
    case = Case("t.csv", csv(header=False))
    done = train(written(tmp_path, case, 0), case, tmp_path / "model")
    assert "3 of 4 column names are numbers (0.126, 100.8, 4); the first line must be a header" in done.stderr
    done = in_process("score", tmp_path / "model", written(tmp_path, case, 1), "-o", "-")
    one_line(done, 2, "4 of the model's 4 columns are missing: '0.126', '100.8', '4', 'Zürich'; found '0.346', '101.6'")


def test_unreadable_cells_are_counted_by_their_text(tmp_path):
    case = Case("t.csv", csv(with_cells("v", lambda rng, n: ["bad" if i % 40 == 1 else i % 7 * 1.5 for i in range(n)])))
    path = written(tmp_path, case, 0)
    done = train(path, case, tmp_path / "model")
    assert "4 of 160 rows cannot be used and are left out, from row 2 on: column 'v': 'bad' is not" in done.stderr
    done = in_process("score", tmp_path / "model", path, "-o", tmp_path / "scores.csv", "--json")
    assert json.loads(done.stdout)["unscored"] == {"unreadable": 4}


def test_a_file_whose_cells_are_half_text_is_one_of_categories_and_a_kind_changes_that(tmp_path):
    """With 10 % of other texts the column is one of numbers; what fits the other cells is the user's to say."""
    case = Case("t.csv", csv(with_cells("v", lambda rng, n: ["low" if i % 5 < 3 else i % 5 for i in range(n)])))
    path = written(tmp_path, case, 0)
    done = train(path, case, tmp_path / "model")
    assert json.loads(done.stdout)["columns"][-1] == {"name": "v", "kind": "categorical"}
    done = train(path, case._replace(training=("--missing-values", "low")), tmp_path / "numbers")
    assert json.loads(done.stdout)["columns"][-1] == {"name": "v", "kind": "integer"}
