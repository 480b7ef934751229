"""The benchmark runs end to end and counts exactly; how fast it is, is no test's business."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from makers.boots import Boots

from kprobesim import CalledKernel, EngineError, Kernel, UsageError
from kprobesim.arch.architecture import ARCHITECTURES
from kprobesim.bench.boots import boot_contest
from kprobesim.bench.contest import Contender, Contest, Target, check
from kprobesim.bench.cpus import cpus_contest, switch_contest, turn_contest
from kprobesim.bench.handlers import handler_contest
from kprobesim.bench.hits import FUNCTION, hit_contest
from kprobesim.bench.loop import Loop
from kprobesim.bench.page import page
from kprobesim.bench.plain import Plain
from kprobesim.bench.programs import program_contest
from kprobesim.bench.races import booted_race_contest
from kprobesim.bench.report import Report
from kprobesim.bench.run import run_benchmark
from kprobesim.bench.sizes import Sizes
from kprobesim.cli.main import main
from kprobesim.kernel.samples import sample_path

DOCS = Path(__file__).parents[2] / "docs"
TINY = Sizes(
    calls=100,
    hash_bytes=1000,
    sort_elements=50,
    copy_bytes=5000,
    hits=20,
    program_hits=30,
    probes=(1, 3, 10),
    crowd=(2, 5),
    python_calls=10,
    boot_counted=50,
    race_runs=8,
    race_preemptions=0,
)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A whole run of one architecture on its sample guest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KPROBESIM_KERNELS", str(tmp_path_factory.mktemp("empty")))
        return run_benchmark(sample_path, [request.param], rounds=2, sizes=TINY)


def test_every_contest_is_held_and_every_round_kept(report: Report) -> None:
    keys = [contest.key for contest in report.contests]
    assert keys == [
        *("loop", "crc32", "sort", "memcpy", "hit", "scale", "register", "call", "switch", "races"),
        *("crowd-called", "tight-called", "programs-called", "handlers-called"),
    ]
    for contest in report.contests:
        for contender in contest.contenders:
            assert len(contender.rounds) == 2
            assert all(isinstance(figure, float) for figure in contender.rounds)


def test_hit_contest_has_all_ways(report: Report) -> None:
    hit = next(contest for contest in report.contests if contest.key == "hit")
    keys = {contender.key for contender in hit.contenders}
    assert keys >= {"E", "R", "naive", "ours-fast", "ours-stepped", "ours-trap"}
    assert ("ours-jump" in keys) == (hit.arch == "x86_64")
    assert ("qiling" in keys) != any("Qiling takes no part" in note for note in report.notes)


def test_programs_and_handlers_have_all_ways(report: Report) -> None:
    keys = {
        contest.key: {contender.key for contender in contest.contenders}
        for contest in report.contests
    }
    assert keys["programs-called"] == {
        *("E", "count", "record", "filter", "event", "refusing event"),
        *("histogram", "string", "latency"),
    }
    ways = {"empty", "reads", "writes", "stepped", "returns"}
    armed = {f"{arming}-{way}" for arming in ("hook", "breakpoint") for way in ways}
    handlers = keys["handlers-called"]
    assert handlers - {f"jump-{way}" for way in ways} == {"E", "R", *armed}
    assert ("jump-empty" in handlers) == (report.contests[0].arch == "x86_64")


@pytest.mark.real_kernel
def test_booted_guests_take_part(any_real_image: Path, boots: Boots) -> None:
    plain = Loop(Kernel.load(any_real_image))
    loop = Loop(boots.at_run_init(any_real_image))
    rival = plain.on(Plain(plain.kernel, "paged"))  # type: ignore[arg-type]
    for contest in (program_contest(loop, rival, TINY), handler_contest(loop, rival, TINY)):
        assert contest.key.endswith("-booted")
        contest.play(1, lambda text: None)
        assert all(len(contender.rounds) == 1 for contender in contest.contenders)


def test_a_boot_is_counted_from_its_start(real_arm64_image: Path) -> None:
    contest = boot_contest(real_arm64_image, "arm64", TINY)
    assert all(contender.run() > 0 for contender in contest.contenders)


def test_switches_and_boots_on_several_cpus(real_arm64_image: Path) -> None:
    contest = switch_contest(Kernel.load(sample_path("arm64")).machine)
    assert [contender.run() > 0 for contender in contest.contenders] == [True, True]
    contest = cpus_contest(real_arm64_image, "arm64", (2,))
    assert contest["2"].run() > 0


def test_turns_and_races_of_a_booted_guest(real_arm64_image: Path, boots: Boots) -> None:
    guest = boots.shell(real_arm64_image, 2).kernel
    guest.console.send("echo $((1 + 1))\n")
    for contest in (turn_contest(guest), booted_race_contest(guest, TINY)):
        assert [contender.run() > 0 for contender in contest.contenders] == [True, True]


def test_what_stands_in_for_a_kernel_is_said(report: Report) -> None:
    assert any("make kernels" in note for note in report.notes)
    assert any("stand in" in note for note in report.notes)


def test_json_shape(report: Report) -> None:
    data = json.loads(json.dumps(report.as_dict()))
    assert set(data) == {
        *("started", "machine", "versions", "rounds", "sizes", "notes", "missed", "contests")
    }
    assert data["versions"]["unicorn"]
    assert data["sizes"]["hits"] == 20
    contender = data["contests"][0]["contenders"][1]
    assert set(contender) == {
        *("key", "label", "rounds", "median", "against", "at_most", "ratio", "met")
    }
    assert (contender["against"], contender["at_most"]) == ("plain", 0.12)


def test_table_names_every_contender_and_target(report: Report) -> None:
    text = "\n".join(report.lines())
    for contest in report.contests:
        for contender in contest.contenders:
            assert contender.label in text
    assert "at most 0.8" in text
    assert "targets met" in text


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_miscounted_hit_is_an_error(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to hit is checked: let the loop make one turn less, and all of them complain."""
    contest, _ = hit_contest(lambda mode: CalledKernel.load(sample_path(arch), stepping=mode), TINY)
    call, plain_call = CalledKernel.call, Plain.call

    def short(
        self: CalledKernel, function: object, turns: int, *rest: object, **more: object
    ) -> int:
        return call(self, function, turns - 1, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(CalledKernel, "call", short)
    monkeypatch.setattr(Plain, "call", lambda self, at, turns: plain_call(self, at, turns - 1))
    monkeypatch.setattr("kprobesim.bench.hits._check_sum", lambda result, turns: None)
    for contender in contest.contenders:
        if contender.key != "qiling":
            with pytest.raises(EngineError, match="number of hits is 19, it has to be 20"):
                contender.run()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_contenders_leave_the_code_as_it_was(arch: str) -> None:
    kernels: list[CalledKernel] = []

    def load(stepping: str) -> CalledKernel:
        kernels.append(Kernel.load(sample_path(arch), stepping=stepping))  # type: ignore[arg-type]
        return kernels[-1]

    contest, _ = hit_contest(load, TINY)
    symbol = kernels[0].symbols[FUNCTION]
    before = [kernel.read(symbol.address, symbol.size) for kernel in kernels]
    contest.play(1, lambda text: None)
    assert [kernel.read(symbol.address, symbol.size) for kernel in kernels] == before
    assert all(len(kernel.kprobes) == 0 for kernel in kernels)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("mode", ["virtual", "paged"])
def test_plain_runs_the_same_code(arch: str, mode: str) -> None:
    kernel = Kernel.load(sample_path(arch))
    plain = Plain(kernel, mode)  # type: ignore[arg-type]
    gcd = kernel.symbols["gcd"].address
    assert plain.call(gcd, 48, 36) == kernel.call("gcd", 48, 36) == 12
    with pytest.raises(EngineError, match="plain Unicorn stopped at"):
        plain.call(kernel.symbols["strlen"].address, 0x1234_5678_0000)
    assert plain.call(gcd, 48, 36) == 12


def test_rounds_are_interleaved_and_the_first_does_not_count() -> None:
    order: list[str] = []

    def contender(key: str, figure: float, target: Target | None) -> Contender:
        def run() -> float:
            order.append(key)
            return figure * len(order)

        return Contender(key, key, run, target)

    closed: list[bool] = []
    contest = Contest(
        *("x86_64", "k", "t", "ns", "s"),
        [contender("a", 1.0, None), contender("b", 2.0, Target("a", 2.5))],
        lambda: closed.append(True),
    )
    contest.play(3, lambda text: None)
    assert "".join(order) == "abababab"
    assert contest["a"].rounds == [3.0, 5.0, 7.0]
    assert contest["b"].rounds == [8.0, 12.0, 16.0]
    assert contest.ratio(contest["b"]) == 12.0 / 5.0
    assert contest.met(contest["b"]) is True
    assert contest.met(contest["a"]) is None
    assert closed == [True]


def test_check_raises() -> None:
    check("x", 1, 1)
    with pytest.raises(EngineError, match="x is 1, it has to be 2"):
        check("x", 1, 2)


def test_no_rounds_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="0 rounds"):
        run_benchmark(sample_path, ["arm64"], rounds=0, sizes=TINY)


def test_image_of_another_architecture_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="arm64 kernel"):
        run_benchmark(sample_path, ["x86_64"], image=sample_path("arm64"), sizes=TINY)


def test_command_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KPROBESIM_KERNELS", str(tmp_path))
    monkeypatch.setattr(Sizes, "__init__", lambda self: self.__dict__.update(TINY.__dict__))
    out = tmp_path / "figures.json"
    assert main(["bench", "--arch", "arm64", "--rounds", "1", "--json", str(out)]) == 0
    printed = capsys.readouterr()
    assert "arm64: a hit, over no probe" in printed.out
    assert "round 1 of 1" in printed.err
    assert json.loads(out.read_text())["rounds"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "0 rounds"),
        (["--json", "/nonexistent/figures.json"], "existing directory"),
        (["--arch", "mips"], "invalid choice"),
    ],
)
def test_wrong_use(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_was_kept_is_the_same_report(report: Report) -> None:
    again = Report.of(json.loads(json.dumps(report.as_dict())))
    assert list(again.lines()) == list(report.lines())
    assert again.as_dict() == report.as_dict()
    with pytest.raises(UsageError, match="over"):
        again.contests[0].play(1, lambda text: None)


def test_a_page_has_a_row_for_every_contender(report: Report) -> None:
    text = page(report, "plot.svg")
    for contest in report.contests:
        assert all(f"| {contender.label} |" in text for contender in contest.contenders)
    assert "(plot.svg)" in text
    assert " 0.06 x E |" in text
    assert " 8 |" in text


def test_the_page_in_docs_is_made_of_the_run_beside_it() -> None:
    run = json.loads((DOCS / "performance.json").read_text())
    assert (DOCS / "performance.md").read_text() == page(Report.of(run), "performance.svg")


def test_plot_without_matplotlib_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["bench", "--plot", str(tmp_path / "f.svg")]) == 2
    assert "pip install 'kprobesim[bench]'" in capsys.readouterr().err


def test_plot(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from kprobesim.bench.plot import write_plot

    out = tmp_path / "figures.svg"
    write_plot(report, out)
    text = out.read_text()
    assert text.startswith("<?xml")
    assert "<svg" in text
    with pytest.raises(UsageError, match="SVG"):
        write_plot(report, tmp_path / "figures.png")
