"""Expressions that both are asked: every function, operator and modifier of the subset, and errors of each kind."""

from __future__ import annotations

SELECTORS = [
    "load", 'load{job="api"}', 'load{job!="api"}', 'load{job=~"a.*"}', 'load{job!~"a.*"}', 'load{instance=~"0|1"}',
    'load{nosuch=""}', 'load{nosuch!=""}', '{__name__=~"load|flat"}', '{__name__="load",job="web"}', "nosuch",
    '{job="api"}', 'load{job=~""}', '{__name__!="load",job=~".+"}', "odd", "slow", 'load{instance="1"} offset 1m',
    "load offset -90s", "load @ 1700000300", "load @ 1700000300.75 offset 45s", "load @ start()", "load @ end()",
    "load offset 1m @ end()", "slow offset 4m50s", "turns", 'slow{path="a\\"b\\\\c/é"}', "{path=~`a\"b.*`}",
    "load @ -5", "load @ 1e9", 'load{job=~"(?i)API"}', "flat offset 1w",
    "cloudpulse_forecast_curve", 'cloudpulse_forecast_curve{level="0.5",zone="a"}',
    '{__name__=~"cloudpulse_forecast_.*"}', "cloudpulse_forecast_series",
]  # fmt: skip
RANGES = [
    f"{function}({prefix}{what}{suffix})"
    for function, prefix, suffix in (
        ("avg_over_time", "", ""), ("min_over_time", "", ""), ("max_over_time", "", ""), ("sum_over_time", "", ""),
        ("count_over_time", "", ""), ("quantile_over_time", "0.3, ", ""), ("stddev_over_time", "", ""),
        ("stdvar_over_time", "", ""), ("last_over_time", "", ""), ("present_over_time", "", ""),
        ("absent_over_time", "", ""), ("delta", "", ""), ("deriv", "", ""), ("predict_linear", "", ", 600"),
        ("increase", "", ""), ("rate", "", ""), ("quantile_over_time", "1.2, ", ""),
        ("quantile_over_time", "NaN, ", ""),
    )
    for what in (
        "load[3m]", "requests_total[4m]", "slow[15m]", "odd[2m]", "flat[5m]", "load[2m] offset 1m", "turns[5m]",
        "load[1m] @ 1700000400", "load[5m] @ end() offset -30s", "requests_total[1d]", "nosuch[1m]", "load[30s]",
        "load[45s:10s]", "(load * 2)[3m:]", "load[3m:7s] offset 20s", "flat[0s1ms]",
        "cloudpulse_forecast_curve[2m]",
    )
]  # fmt: skip
ELEMENTWISE = [
    f"{function}({what}{rest})"
    for function, rest in (
        ("abs", ""), ("ceil", ""), ("floor", ""), ("exp", ""), ("sqrt", ""), ("ln", ""), ("log2", ""), ("log10", ""),
        ("sgn", ""), ("round", ""), ("round", ", 0.25"), ("round", ", 5"), ("clamp", ", 2, 9"), ("clamp", ", 9, 2"),
        ("clamp_min", ", 3"), ("clamp_max", ", 3"), ("clamp", ", -Inf, NaN"), ("clamp_max", ", NaN"),
        ("clamp_min", ", NaN"), ("sin", ""), ("cos", ""), ("tan", ""), ("asin", ""), ("acos", ""), ("atan", ""),
        ("sinh", ""), ("cosh", ""), ("tanh", ""), ("asinh", ""), ("acosh", ""), ("atanh", ""), ("deg", ""), ("rad", ""),
    )
    for what in ("load", "odd", "-load", "odd - odd", "turns")
]  # fmt: skip
DATES = [
    f"{function}({what})"
    for function in (
        "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year",
    )
    for what in ("", "clock", "vector(1709210096)", "vector(time())", "clock / 3.3")
]  # fmt: skip
AGGREGATIONS = [
    f"{operator}{modifier}({parameter}{what})"
    for operator, parameter in (
        ("sum", ""), ("min", ""), ("max", ""), ("avg", ""), ("count", ""), ("group", ""), ("stddev", ""),
        ("stdvar", ""), ("quantile", "0.35, "), ("quantile", "-1, "), ("quantile", "2, "), ("quantile", "NaN, "),
        ("topk", "2, "), ("bottomk", "2, "), ("topk", "0, "), ("topk", "1.9, "), ("bottomk", "100, "), ("topk", "-3, "),
    )
    for modifier in ("", " by (job)", " without (job)", " by ()", " without ()", " by (nosuch, instance)")
    for what in ("load", "odd", '{__name__=~"load|capacity"}')
]  # fmt: skip
BINARY = [
    f"{left} {operator} {right}"
    for operator in ("+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "> bool", "== bool")
    for left, right in (
        ("load", "3"), ("4", "load"), ("load", "load"), ("load", "on (job) group_left capacity"), ("odd", "odd"),
        ("load", "on (job) group_left (region) capacity"), ("capacity", "on (job) group_right (region) load"),
        ("load", "ignoring (instance) group_left capacity"), ("load", "on (job) capacity"), ("load", "capacity"),
        ("load", "on (job, instance) requests_total"), ("capacity", "on (job) load"), ("flat", "on (job) turns"),
        ("capacity", "on (job) turns"), ("load", "on (job) group_left turns"), ("load", "nosuch"), ("nosuch", "load"),
        ("odd", "0"), ("0", "odd"), ("capacity", "ignoring (region) flat"),
    )
]  # fmt: skip
SETS = [
    f"{left} {operator} {right}"
    for operator in ("and", "or", "unless")
    for left, right in (
        ("load", "capacity"), ("load", "on (job) capacity"), ("load", "on () flat"), ("load", "load > 10"),
        ("load > 10", "load"), ("load", "ignoring (instance) turns"), ("turns", "on (job) load{instance=\"1\"}"),
        ("load", "nosuch"), ("nosuch", "load"), ("vector(1)", "load"), ("load", "on (job, instance) requests_total"),
    )
]  # fmt: skip
OTHERS = [
    "1", "-1", "1 + 2 * 3 ^ 2 ^ 0.5", "-2 ^ 2", "1 / 0", "0 / 0", "-1 / 0", "5 % 3", "-5 % 3", "1 == bool 1", "NaN",
    "Inf", "0x1F", "1e3", '"text"', "time()", "pi()", "vector(7)", "vector(time())", "scalar(flat)", "scalar(load)",
    "scalar(nosuch)", "timestamp(load)", "timestamp(load offset 1m)", "timestamp(load @ 1700000300)",
    "timestamp(load + 1)", "timestamp((load))", "timestamp(timestamp(load))", "timestamp(vector(1))",
    "absent(load)", "absent(nosuch)", 'absent(nosuch{job="a",x!="b"})', 'absent(nosuch{job="a",job="b",c="d"})',
    "absent(sum(nosuch))", 'absent(nosuch{job=~"a"})', 'absent_over_time(nosuch{job="a"}[5m])',
    'absent(turns{turn="b"})',
    'absent(load{job="api"} > 100)', 'absent_over_time(turns{turn="b"}[1m])', "absent_over_time(sum(nosuch)[1m:10s])",
    'label_replace(load, "host", "h-$1", "instance", "(.*)")', 'label_replace(load, "job", "", "job", "api")',
    'label_replace(load, "x", "${1}$$", "instance", "([0-9])")', 'label_replace(load, "x", "$2", "instance", "(.)")',
    'label_replace(load, "instance", "same", "instance", ".*")', 'label_replace(load, "9x", "y", "job", ".*")',
    'label_replace(load, "x", "y", "job", "(")', 'label_replace(load, "x", "$name-", "job", "(?P<name>a.*)")',
    'label_replace(load, "__name__", "renamed", "job", "api")', 'label_replace(load, "x", "$1", "nosuch", "(.*)")',
    'label_join(load, "both", "-", "job", "instance")', 'label_join(load, "job", "")', 'label_join(load, "x", ",")',
    'label_join(load, "0", ",", "job")', 'label_join(load, "x", ",", "9")',
    'label_join(load, "x", "/", "job", "nosuch")',
    "-load", '-{__name__=~"load|requests_total"}', 'abs({__name__=~"load|requests_total"})', "abs(turns)",
    'rate({__name__=~"load|requests_total"}[5m])', 'last_over_time({__name__=~"load|requests_total"}[5m])',
    '{__name__=~"load|requests_total"} + 1', "sum(load) / count(load)", "sum by (job) (load) / on (job) capacity",
    "max_over_time(sum by (job) (load)[5m:30s])", "avg_over_time(rate(requests_total[2m])[5m:])",
    "topk(1, load) or bottomk(1, load)", "quantile(scalar(flat) / 10, load)", "topk(scalar(flat) - 5, load)",
    "topk(NaN, load)", "topk(1e30, load)", "clamp(load, scalar(flat), time())", "round(load, 0)",
    "predict_linear(load[5m], scalar(flat) * 60)", "sum(load > 1e9)",
    "sum(load @ end()) - sum(load)", "max_over_time(load[10m:1m] @ 1700000600)", "(load)[5m:1m]", "load[5m]",
    'load{job="api"}[2m] offset 30s', "max_over_time(max_over_time(load[1m])[4m:20s])", "sum(turns)", "time() - time()",
    "max_over_time(time()[5m:1m])", "sum_over_time(vector(2)[5m:45s])", "vector(scalar(sum(load)))", "-(-load)",
    "load and on () (time() > 1700000500)", "load > 1 < 15", "(load > 5) + (load < 12)", "1 > bool 2 or load",
    "cloudpulse_forecast_curve offset -5m - cloudpulse_forecast_curve", "sort(load) == 1",
    'max by (zone) (cloudpulse_forecast_curve{level="0.9"}) > 60',
    'max_over_time(cloudpulse_forecast_curve{level="0.5"}[20m] offset -20m)',
    "count by (__name__) ({__name__=~\".+\"})", "count without (job, __name__) (load)", "sum by (__name__) (load)",
    "load * on (__name__, job, instance) load", "load + on (job, instance) group_left (__name__) requests_total",
    "load - ignoring (job) load", "load % 0", "minute(load) + hour()", "1 # comment", "sum(\n load\n)",
]  # fmt: skip
ERRORS = [
    "", "load +", "sum(load", "load{", "load{job=}", "load[5m", "rate(load)", "abs(1)", "1 == 2", "load == bool \"x\"",
    "nosuchfunction(load)", "{}", '{job=""}', 'load{job=~"("}', "sum()", "topk(load)", "load and 1", "load[5m] + 1",
    "sum(1)", "load + bool 1", 'load{__name__="x"}', "load[0s]", "load @", "load @ NaN", "load @ Inf",
    "'unterminated", '"\\q"', "load[5m][5m]", "load offset 1m offset 1m", "label_replace(load)", "1 +* 2", "a{b='c' d}",
    "load and on (job) group_left load", ")", "€", "load{job=~\"a\\\\Qb\"", "(((1)", "sum by (load)", "by (x)",
    "load @ start", "load[-1m]", "sum_over_time(load[5m:-1m])", "count_values(1, load)", "time(1)",
]  # fmt: skip
TABLE = [*SELECTORS, *RANGES, *ELEMENTWISE, *DATES, *AGGREGATIONS, *BINARY, *SETS, *OTHERS, *ERRORS]
ORDERED = [
    "sort(load)", "sort_desc(load)", "sort(odd or load)", "sort_desc(sum by (job) (load))", "topk(4, load)",
    "bottomk(3, load)", "load", "topk by (job) (2, load)", "sort(-load)",
]  # fmt: skip
