"""Results as a run would make them, for tests of what is told of them."""


def entry(name, *throughputs, **more):
    """A server's rounds; None is a round that failed."""
    loads = lambda value: {"closed-8": {"throughput": value, "p50": 1.0, "p99": 2.0, "p99.9": 3.0, "goodput": value,  # noqa: E731
                                        "cpu_ms": 1.5, "failed": 0, "statuses": {"200": 1}, "errors": {}}}
    memory = {"pss": 10 << 20, "rss": 20 << 20}
    rounds = [value and {"ready": 1.0, "packed": None, "loaded": memory, "after": memory, "loads": loads(value)} for value in throughputs]
    return {"title": name, "cannot": None, "configuration": "as it comes", "trouble": [], "rounds": rounds, **more}


def results(**entries):
    names = {name.replace("_", "/"): one for name, one in entries.items()}
    return {
        "date": "2026-01-02", "oha": "1.2.3", "load_average": [0.1, 0.2], "setting": {"workers": 1, "threads": 2},
        "machine": {"cpu": "A processor", "cores": 2, "memory": 8 << 30, "system": "Linux 6"},
        "missing": {"ray/onnx": "there is no `ray`"},
        "servers": {"marserve": {"versions": {"marserve": "0.1"}, "install_seconds": None, "install_bytes": 5e6, "idle": None}},
        "jobs": {"empty-tensor": {"title": "nothing", "batch": 1, "delay": 1, "rates": [], "entries": names, "plan": {"rounds": 3, "seconds": 2, "warm_up": 1},
                                  "bare": {"torchscript": [{"throughput": 100.0}, {"throughput": 110.0}]}}},
    }
