import contextlib
import shutil
import subprocess
import time

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alert_bridge.matchers import Matcher, MatcherError, Matchers, parse

AMTOOL = shutil.which("amtool") or "amtool"

NAMES = st.sampled_from(["severity", "team", "a:b", "_x", "pod"])
UTF8 = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
TEXTS = st.text(st.one_of(st.sampled_from('ab\\"n,{}=~! \n\t.|'), st.characters(codec="utf-8")), max_size=10)


def test_the_words_of_alertmanager_are_read_as_there():
    assert parse('severity=~"critical|page"') == (Matcher("severity", "=~", "critical|page"),)
    assert parse(" team != web ") == (Matcher("team", "!=", "web"),)
    assert parse('{foo = "bar", dings !~ "bu,ms", }') == (Matcher("foo", "=", "bar"), Matcher("dings", "!~", "bu,ms"))
    assert parse(r'q="She said: \"Hi\"\\ \d"') == (Matcher("q", "=", r'She said: "Hi"\ \d'),)
    assert parse("foo=") == (Matcher("foo", "=", ""),)
    assert parse("") == parse("{}") == ()


def test_label_names_beyond_ascii_are_read_as_since_0_27():
    assert parse(r'"my label"="\u00e9\t\xc3\xa9"') == (Matcher("my label", "=", "é\té"),)
    assert parse("{über=ja}") == (Matcher("über", "=", "ja"),)
    assert parse('"a.b"=~"x|y", c!=d') == (Matcher("a.b", "=~", "x|y"), Matcher("c", "!=", "d"))


def test_what_both_grammars_can_read_means_what_the_classic_one_says():
    assert parse(r'path="C:\temp"') == (Matcher("path", "=", r"C:\temp"),)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("severity", 9, "expected an operator"),
        ('foo="bar', 5, "must end with one"),
        ('foo=ba"r', 7, "double quotes"),
        ("a=b,,c=d", 5, "expected a matcher"),
        ("pod=~web-[0-9]{2}", 17, "double quotes"),
        ('{"my label"="x"', 16, "expected a closing brace"),
        ('"my label"="x', 12, "double quotes"),
        ('"my label"="\\q"', 13, "unknown escape"),
        ('a=b,""=x', 5, "expected a matcher"),
        ('a="b", "c d"="\\xff"', 14, "UTF-8"),
        ('job=~"a(b"', 6, "not a regular expression as Go has them: missing )"),
        ("job=~a(?=b)", 6, "not a regular expression"),
        (r"job=~(a)\1", 6, "not a regular expression"),
        (r'job=~"\\C"', 6, "not known to Go"),
        ('job=~"a{1001}"', 6, "not a regular expression"),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_column(text, column, message):
    with pytest.raises(MatcherError, match=f"^column {column}: ") as caught:
        parse(text)
    assert message in str(caught.value)


@settings(max_examples=300)
@given(st.lists(st.builds(Matcher, st.one_of(NAMES, UTF8), st.sampled_from(["=", "!="]), TEXTS), max_size=4))
def test_a_matcher_written_out_reads_back_as_the_same(matchers):
    assert parse(repr(Matchers(*matchers))) == tuple(matchers)
    for matcher in matchers:
        assert parse(str(matcher)) == (matcher,)


@settings(max_examples=300)
@given(TEXTS)
@example('a="')
@example('"\\U00110000"=x')
@example('"\\ud800"=x')
def test_any_text_is_read_or_refused_at_a_column_within_it(text):
    with contextlib.suppress(MatcherError):
        parse(text)
        return
    with pytest.raises(MatcherError) as caught:
        parse(text)
    assert 1 <= caught.value.column <= len(text) + 1


def test_a_missing_label_is_an_empty_one_and_regular_expressions_match_the_whole_value():
    def match(text, **labels):
        return Matchers(*parse(text)).match(labels)

    assert match('team=""')
    assert match('team=~".*"')
    assert not match('team=~".+"')
    assert match("team!=web")
    assert match('team=~"we|b"', team="we")
    assert not match('team=~"we|b"', team="web")
    assert match('team!~"we|b"', team="web")
    assert not match("team=~a.b", team="a\nb")
    assert match("team=~(?i)WEB", team="web")
    assert match("a=1,b=2", a="1", b="2")
    assert not match("a=1,b=2", a="1")


def test_no_pattern_takes_long_whatever_the_label_holds():
    """A backtracking matcher would need 2**50000 steps; the bound only tells minutes from milliseconds."""
    matchers = Matchers(*parse(r'a=~"(x+x+)+y"'))
    began = time.monotonic()
    assert not matchers.match({"a": "x" * 50_000})
    assert time.monotonic() - began < 30


SIGNS = st.text(st.sampled_from('ab1_:=~!"\\ ,.|*+n[]()'), max_size=8)
WRITTEN = st.one_of(
    st.tuples(NAMES, st.sampled_from(["=", "!=", "=~", "!~"]), SIGNS).map("".join),
    st.tuples(NAMES, st.sampled_from([" = ", "=~"]), SIGNS.map(lambda text: f'"{text}"')).map("".join),
    st.builds(Matcher, NAMES, st.sampled_from(["=", "!="]), TEXTS.filter(lambda text: "\0" not in text)).map(str),
    st.sampled_from(["severity=~critical|page", 'team=""', 'team!~".+"', "{a=b,team!=b}", "team=~[ab]|^a$", ""]),
)
VALUES = st.sampled_from(["", "a", "b", "ab", "critical", "page", 'a"b', "a\\b", "a,b", "a.b", "1", "[]"])


def test_amtool_reads_and_routes_the_same(tmp_path, data_of_many):
    """Each text is a route of its own that continues; amtool answers with all that match a set of labels."""
    texts, sets = data_of_many(WRITTEN, 400), data_of_many(st.dictionaries(NAMES, VALUES, max_size=3), 25)
    ours = {}
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yml").write_text(alertmanager_config([text]), encoding="utf-8")
        try:
            ours[number] = Matchers(*parse(text))
        except MatcherError:
            ours[number] = None
    files = [str(tmp_path / f"{number}.yml") for number in range(len(texts))]
    told = subprocess.run([AMTOOL, "check-config", *files], capture_output=True, text=True, check=False).stdout
    theirs = ["SUCCESS" in part for part in told.split("Checking '")[1:]]
    assert {texts[n]: theirs[n] for n in ours} == {texts[n]: ours[n] is not None for n in ours}
    assert 100 < sum(theirs) < 400

    valid = [text for text, known in zip(texts, theirs, strict=True) if known]
    whole = tmp_path / "whole.yml"
    whole.write_text(alertmanager_config(valid), encoding="utf-8")
    for labels in sets:
        pairs = [str(Matcher(name, "=", value)) for name, value in labels.items()]
        command = [AMTOOL, "config", "routes", "test", f"--config.file={whole}", *pairs]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        matching = [f"r{n}" for n, text in enumerate(valid) if Matchers(*parse(text)).match(labels)]
        assert [name for name in answer.split(",") if name != "none"] == matching, labels


def alertmanager_config(texts):
    routes = [{"receiver": f"r{n}", "matchers": [text], "continue": True} for n, text in enumerate(texts)]
    receivers = [{"name": "none"}, *({"name": f"r{n}"} for n in range(len(texts)))]
    return yaml.safe_dump({"route": {"receiver": "none", "routes": routes}, "receivers": receivers}, allow_unicode=True)


@pytest.fixture
def data_of_many():
    """Examples of a strategy, the same in every run."""

    def draw(strategy, count):
        found = []

        @settings(max_examples=count, database=None, derandomize=True, deadline=None)
        @given(strategy)
        def collect(value):
            if value not in found:
                found.append(value)

        collect()
        return found

    return draw
