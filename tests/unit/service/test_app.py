"""The service from outside: what a client sees of jobs that go well and badly."""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.main import get_command

from service_tasks import NAME, said
from tramtrack.cli import app
from tramtrack.prediction.answer import Answer
from tramtrack.service.app import application
from tramtrack.service.limits import Limits

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def open_service(serving):
    return serving()


@pytest.fixture
def service(open_service):
    """The service without a token, with no job in it."""
    for job in open_service.client.get("/jobs").json():
        open_service.client.delete(f"/jobs/{job['id']}")
    (open_service.folder.parent / "begun").unlink(missing_ok=True)
    return open_service


def test_an_exam_is_uploaded_predicted_fetched_and_deleted(service):
    posted = service.upload(said("a"), said("bb"))
    assert posted.status_code == 202
    job = posted.json()
    assert posted.headers["location"] == f"/jobs/{job['id']}"
    assert [file["name"] for file in job["files"]] == ["0001.dcm", "0002.dcm"] and job["files"][1]["bytes"] == 134
    ended = service.ended(job["id"])
    assert (ended["state"], ended["message"], ended["ahead"]) == ("done", "", None)
    assert ended["results"] == ["prediction.json", "prediction.html", "heatmaps.zip", "dicom.zip"]
    address = f"/jobs/{job['id']}"
    answer = Answer.model_validate_json(service.client.get(f"{address}/prediction.json").content)
    assert [item.file for item in answer.excluded] == ["0001.dcm", "0002.dcm"]
    page = service.client.get(f"{address}/prediction.html")
    assert page.headers["content-type"].startswith("text/html") and "sandbox" in page.headers["content-security-policy"]
    packed = service.client.get(f"{address}/dicom.zip")
    assert packed.headers["content-type"] == "application/zip" and packed.headers["cache-control"] == "no-store"
    assert service.client.get(f"{address}/heatmaps.zip").status_code == 200
    assert zipfile.ZipFile(io.BytesIO(packed.content)).namelist() == ["result.dcm"]
    assert not (service.folder / "jobs" / job["id"] / "exam").exists(), "the images are kept for nothing"
    assert [found["id"] for found in service.client.get("/jobs").json()] == [job["id"]]
    assert service.client.delete(address).status_code == 204
    assert service.client.get(address).status_code == 404 and not list((service.folder / "jobs").iterdir())


def test_what_gets_no_score_says_why_and_names_no_place(service):
    job = service.upload(said("unanswered")).json()["id"]
    ended = service.ended(job)
    assert ended["state"] == "failed" and ended["results"] == ["prediction.json"]
    assert ended["message"] == "exam: none of 1 files is a standard view; the run is in a"
    assert service.client.get(f"/jobs/{job}/prediction.json").status_code == 200
    missing = service.client.get(f"/jobs/{job}/dicom.zip")
    assert missing.status_code == 404 and missing.json()["detail"].startswith("this job has no dicom.zip: exam: none of")


def test_an_answer_says_which_result_could_not_be_made(service):
    ended = service.ended(service.upload(said("partly")).json()["id"])
    assert (ended["state"], ended["message"]) == ("done", "a map was left out: 0001.dcm has no axes")


@pytest.mark.parametrize(
    ("what", "says", "begun"),
    [
        ("hang", "took longer than 3 s", 1),
        ("die", "the process ended with code -9", 2),
        ("break", "the disk or a file failed: No space left on device", 2),
        ("surprise", "an unexpected ValueError in service_tasks.py, line", 1),
    ],
)
def test_an_exam_that_ends_its_process_costs_that_exam_alone(service, what, says, begun):
    first, second = service.upload(said(what)).json()["id"], service.upload(said("a")).json()["id"]
    ended = service.ended(first)
    assert ended["state"] == "failed" and says in ended["message"] and NAME not in ended["message"]
    assert service.ended(second)["state"] == "done"
    assert {path.name for path in (service.folder / "jobs" / first).iterdir()} == {"job.json", "results"}, "images are left"
    assert (service.folder.parent / "begun").read_text().split() == [first] * begun + [second]


def test_results_come_when_they_are_there_and_a_running_job_can_be_deleted(service):
    running, waiting = service.upload(said("hang")).json()["id"], service.upload(said("a")).json()["id"]
    early = service.client.get(f"/jobs/{waiting}/prediction.json")
    assert early.status_code == 409 and early.headers["retry-after"] == "2"
    assert service.client.get(f"/jobs/{waiting}").json()["ahead"] == 1
    assert service.client.delete(f"/jobs/{running}").status_code == 204
    assert service.ended(waiting)["state"] == "done"
    assert service.client.get(f"/jobs/{running}").status_code == 404


def test_a_full_queue_and_a_full_disk_turn_uploads_away(service, monkeypatch):
    running = service.upload(said("hang")).json()["id"]
    while service.client.get(f"/jobs/{running}").json()["state"] != "running":
        time.sleep(0.01)
    assert [service.upload(said("a")).status_code for _ in range(3)] == [202, 202, 202]
    full = service.upload(said("a"))
    assert full.status_code == 429 and full.headers["retry-after"] == "30"
    assert full.json() == {"detail": "the queue is full (3 exams): try again later"}
    for job in service.client.get("/jobs").json():
        service.client.delete(f"/jobs/{job['id']}")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 4 << 20}))
    assert service.upload(said("a")).status_code == 503
    assert not list((service.folder / "incoming").iterdir())


def test_a_token_is_asked_for(serving):
    service = serving(token=True, folder="with a token")
    client = service.client
    assert client.get("/jobs").status_code == 200
    for shown in ({}, {"Authorization": "Bearer " + "b" * 64}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer ä"}):
        client.headers.pop("Authorization", None)
        headers = {name: value.encode("latin-1") for name, value in shown.items()}
        for asked in (client.get("/jobs", headers=headers), client.post("/jobs", files={"files": b"x"}, headers=headers)):
            assert asked.status_code == 401 and asked.headers["www-authenticate"] == "Bearer"
            assert asked.json() == {"detail": "token: expected the service's own in the header Authorization, as: Bearer TOKEN"}
    assert not list((service.folder / "incoming").iterdir())
    assert client.get("/health").json() == {"status": "ready"}
    assert client.get("/health", headers={"Host": "tramtrack.hospital.example"}).status_code == 200


def test_without_a_token_pages_of_other_sites_get_nothing(service):
    for headers, status in (
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://rebound.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost"}, 200),
    ):
        answered = service.client.get("/jobs", headers=headers)
        assert answered.status_code == status, headers
        assert status == 200 or "service with a token" in answered.json()["detail"]


def test_every_error_is_one_sentence(service):
    client = service.client
    for answered, status, says in (
        (client.get("/nothing"), 404, "address: there is none such"),
        (client.get("/jobs/"), 404, "address: there is none such"),
        (client.put("/jobs"), 405, "method: this address takes"),
        (client.get("/jobs/x"), 422, "job: string should match pattern"),
        (client.get("/jobs?most=0"), 422, "most: input should be greater than or equal to 1"),
        (client.get(f"/jobs/{'0' * 32}"), 404, "no such job"),
        (client.delete(f"/jobs/{'0' * 32}"), 404, "no such job"),
        (
            client.post("/jobs", content=b"x", headers={"Content-Type": "application/zip"}),
            415,
            "content type: expected multipart",
        ),
        (client.post("/jobs", content=b"x"), 415, "content type: expected multipart"),
        (client.post("/jobs", data={"files": "text"}, files={"other": b"x"}), 422, "a field that is no file"),
    ):
        assert answered.status_code == status, answered.text
        assert list(answered.json()) == ["detail"] and answered.json()["detail"].startswith(says), answered.text
        assert "\n" not in answered.json()["detail"]


@pytest.mark.parametrize(("ends", "status", "says"), [(False, 408, "took longer than 0.2 s"), (True, 400, "broke off")])
def test_an_upload_that_never_ends_or_breaks_off_is_dropped(service, ends, status, says):
    app = application(service.jobs, service.runner, None, replace(service.limits, upload_seconds=0.2))
    begun = [{"type": "http.request", "body": b"--edge\r\n", "more_body": True}, *([{"type": "http.disconnect"}] * ends)]
    sent = []

    async def receive():
        if not begun:
            await asyncio.sleep(60)
        return begun.pop(0)

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=edge")]
    scope = {"type": "http", "method": "POST", "path": "/jobs", "query_string": b"", "headers": headers, "scheme": "http"}
    asyncio.run(app({**scope, "server": ("localhost", 80), "root_path": "", "http_version": "1.1"}, receive, send))
    assert sent[0]["status"] == status and says in json.loads(sent[1]["body"])["detail"]
    assert not list((service.folder / "incoming").iterdir())


def test_an_error_that_nobody_expected_is_said_without_its_words(service, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError(NAME)

    monkeypatch.setattr(service.jobs, "newest", fail)
    with caplog.at_level("INFO", "tramtrack.service"):
        answered = service.client.get("/jobs")
    assert (answered.status_code, answered.json()) == (500, {"detail": "the service failed; its log says where"})
    assert "an unexpected RuntimeError in test_app.py" in caplog.text and NAME not in caplog.text


def test_health_tells_when_nothing_is_predicted(service):
    assert service.client.get("/health").status_code == 200
    service.runner.problem = "runs/a: gone"
    answered = service.client.get("/health")
    assert answered.status_code == 503 and "runs" not in answered.text


def test_no_name_that_a_client_gives_is_logged_or_kept(service, caplog):
    with caplog.at_level("DEBUG"):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(f"{NAME}/view.dcm", said("a"))
        jobs = [service.upload(said("a")).json()["id"], service.upload(archive.getvalue(), name=f"{NAME}.zip").json()["id"]]
        told = [str(service.ended(job)) for job in jobs]
        service.client.get(f"/jobs/{NAME}")
        service.client.get(f"/{NAME}")
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx")]
    assert any("GET /jobs/{job}: 422" in line for line in ours), ours
    assert not any(NAME in text for text in (*ours, *told))
    kept = [path for path in service.folder.rglob("*") if path.is_file()]
    assert len(kept) > 8 and not any(NAME.encode() in path.read_bytes() or NAME in str(path) for path in kept)


def test_the_reference_has_every_address_status_field_and_limit(service):
    text = (ROOT / "docs" / "reference" / "service.md").read_text()
    described = service.client.get("/openapi.json").json()
    for address, operations in described["paths"].items():
        for method, operation in operations.items():
            (row,) = [line for line in text.splitlines() if line.startswith(f"| `{method.upper()} {address}` |")]
            for status in operation["responses"]:
                assert status in row, (row, status)
    for field in described["components"]["schemas"]["Job"]["properties"]:
        assert f"`{field}`" in text, field
    options = {parameter.name: parameter for parameter in get_command(app).commands["serve"].params}
    limits = Limits()
    for name, value in (
        ("upload_mib", limits.upload_bytes >> 20),
        ("unpacked_mib", limits.unpacked_bytes >> 20),
        ("files", limits.files),
        ("upload_seconds", limits.upload_seconds),
        ("seconds", limits.prediction_seconds),
        ("queue", limits.waiting),
        ("keep_hours", limits.keep / 3600),
    ):
        assert options[name].default == value
        assert f"| `--{name.replace('_', '-')}` | {value:g} |" in text, name
