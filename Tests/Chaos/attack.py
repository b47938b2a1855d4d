"""The attackers of the chaos run: clients who know a request that kills a plugin, and send it at a rate of their own, however
slow the answers are."""

import concurrent.futures
import dataclasses
import http.client
import random
import time

# Who is attacked. Its policy says nothing of budgets and backoff: what holds for it is the default.
TARGET = "target"
# Killers that have no answer yet: one more is not sent, and counted.
OUTSTANDING = 96


@dataclasses.dataclass(frozen=True)
class Storm:
    """Killers a second, what they ask for, from how many addresses, and whether workers are killed meanwhile."""

    name: str
    rate: int
    faults: tuple
    headers: tuple = ("x-chaos",)
    addresses: int = 1
    kills: bool = False


STORMS = (
    Storm("one client, traps", 80, ("trap",)),
    Storm("one client, endless loops", 20, ("loop",)),
    Storm("many clients, every fault, and kills", 60, ("trap", "trap", "exit", "leak", "loop"),
          ("x-chaos", "x-chaos-response", "x-chaos-tail"), 50, True),
)


class Attackers:
    """Sends the killers of a storm; their answers are judged as all others are."""

    def __init__(self, load, storm, seed):
        self.load, self.storm, self.rng = load, storm, random.Random(f"{seed}/{storm.name}")
        self.sent = self.unsent = 0

    def run(self, seconds):
        """Each killer is due at its own time. Returns at once after the last one was sent, with what to wait for until all are
        answered."""
        pool = concurrent.futures.ThreadPoolExecutor(OUTSTANDING)
        begin, waiting, asked = time.monotonic(), set(), []
        for number in range(int(self.storm.rate * seconds)):
            time.sleep(max(begin + number / self.storm.rate - time.monotonic(), 0))
            waiting = {future for future in waiting if not future.done()}
            if len(waiting) >= OUTSTANDING:
                self.unsent += 1
                continue
            fault, header = self.rng.choice(self.storm.faults), self.rng.choice(self.storm.headers)
            address = f"127.0.0.{1 + number % self.storm.addresses}"
            future = pool.submit(self._ask, {header: f"{TARGET}:{fault}", "x-number": str(number)}, address)
            waiting.add(future)
            asked.append(future)
            self.sent += 1

        def finish():
            pool.shutdown()
            for future in asked:
                future.result()
        return finish

    def _ask(self, headers, address):
        connection = http.client.HTTPConnection("127.0.0.1", self.load.port, timeout=20, source_address=(address, 0))
        try:
            outcome, _ = self.load.ask(connection, headers, b"")
            self.load.note(outcome, f"{headers} from {address}")
        finally:
            connection.close()
