"""The Markdown at the end: throughput, latency, memory, and the ratios beside the budget."""

import statistics


def median(values):
    return statistics.median(values) if values else None


class Results:
    """Samples by configuration and connections, and proportional set sizes by configuration."""

    def __init__(self):
        self.samples, self.memory, self.workers = {}, {}, {}

    def add(self, name, connections, sample):
        self.samples.setdefault((name, connections), []).append(sample)

    def rate(self, name, connections):
        return median([sample.requests_per_second for sample in self.samples.get((name, connections), [])])

    def latency(self, name, connections):
        return median([sample.median_microseconds for sample in self.samples.get((name, connections), [])])

    def growth(self, kind, few, many):
        """Bytes per further plugin between two lengths of chain."""
        low, high = self.memory.get(f"{kind}-{few}"), self.memory.get(f"{kind}-{many}")
        return (high - low) / (many - few) if low and high else None


def number(value, form="{:,.0f}", missing="-"):
    return missing if value is None else form.format(value)


def ratio(above, below):
    return above / below if above and below else None


def throughput_table(results, names, connection_counts):
    lines = ["| configuration | " + " | ".join(
        f"{count} conn. req/s | p50 us | slowest to fastest" for count in connection_counts) + " |"]
    lines.append("|---|" + "---:|---:|---:|" * len(connection_counts))
    for name in names:
        cells = []
        for count in connection_counts:
            rates = [sample.requests_per_second for sample in results.samples.get((name, count), [])]
            spread = f"{min(rates):,.0f} to {max(rates):,.0f}" if rates else "-"
            cells += [number(results.rate(name, count)), number(results.latency(name, count), "{:,.0f}"), spread]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def budget_table(results, connection_counts):
    few, many = min(connection_counts), max(connection_counts)

    def rates(above, below):
        return ratio(results.rate(above, many), results.rate(below, many))

    def added(kind):
        one, none = results.latency(f"{kind}-1", few), results.latency(f"{kind}-0", few)
        return one - none if one and none else None

    mebibyte = 1 << 20
    workers = results.growth("bulkhead", 10, 100)
    envoy = results.growth("envoy", 10, 100)
    rows = [
        ("one plugin over none, req/s", rates("bulkhead-1", "bulkhead-0"), "{:.2f}", ">= 0.90",
         rates("envoy-1", "envoy-0")),
        ("one plugin, Bulkhead over Envoy's V8, req/s", rates("bulkhead-1", "envoy-1"), "{:.2f}", ">= 2.0", None),
        ("one plugin, Bulkhead over Envoy's ext_proc, req/s", rates("bulkhead-1", "envoy-ext_proc"), "{:.2f}", ">= 5",
         None),
        ("chain of 10, Bulkhead over Envoy, req/s", rates("bulkhead-10", "envoy-10"), "{:.2f}", "-", None),
        ("chain of 100, Bulkhead over Envoy, req/s", rates("bulkhead-100", "envoy-100"), "{:.2f}", ">= 1.5", None),
        (f"median latency that one plugin adds, {few} connection(s), us", added("bulkhead"), "{:.0f}", "<= 20",
         added("envoy")),
        ("memory per further plugin (PSS), MiB", workers and workers / mebibyte, "{:.2f}", "<= 1.5",
         envoy and envoy / mebibyte),
    ]
    lines = [
        f"| what ({many} connections unless said) | Bulkhead | budget | reached | Envoy |",
        "|---|---:|---:|---|---:|"]
    for what, value, form, budget, peer in rows:
        lines.append(
            f"| {what} | {number(value, form)} | {budget} | {reached(value, budget)} | {number(peer, form)} |")
    return lines


def reached(value, budget):
    if value is None or budget == "-":
        return "-"
    comparison, bound = budget.split()
    return "yes" if (value >= float(bound) if comparison == ">=" else value <= float(bound)) else "no"


def memory_table(results):
    lines = ["| configuration | all processes, PSS MiB | one worker, median PSS MiB |", "|---|---:|---:|"]
    for name, size in results.memory.items():
        worker = results.workers.get(name)
        lines.append(
            f"| {name} | {size / (1 << 20):,.1f} | {number(worker and worker / (1 << 20), '{:.2f}')} |")
    return lines
