"""Load what `labelwise audit export` writes with the tools themselves, and export it again as a reviewer would.

    labelwise audit export AUDIT --to label-studio --root ROOT --out FOLDER/tasks.json
    labelwise audit export AUDIT --to fiftyone --root ROOT --out FOLDER/labels.json
    PEER/bin/python benchmarks/peers/check_exchange.py ROOT FOLDER...
    labelwise audit apply AUDIT --corrections FOLDER/annotated.json --out one.csv
    labelwise audit apply AUDIT --corrections FOLDER/reviewed.json --out two.csv

PEER is an environment made from `requirements-exchange.txt`; ROOT is the folder above that of the images.

Label Studio runs as a server on this machine with a database of its own in a temporary folder. The configuration
becomes a project, whose SDK validates every prediction; the tasks are imported; each image is fetched from the server;
every task is annotated with its prediction, but for the last one, which is skipped; the project is exported as JSON.

FiftyOne's importer reads the labels and finds the images, and its exporter writes them again; the database between the
two needs MongoDB, and is left out. This script knows nothing of `labelwise`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import requests

PORT, TOKEN = 8391, "0123456789abcdef0123456789abcdef01234567"
HOST = f"http://127.0.0.1:{PORT}"
PATIENCE = 1200.0
"""Seconds until the server must answer; it makes its database first."""


def main() -> None:
    root, *folders = (Path(word).resolve() for word in sys.argv[1:])
    for folder in folders:
        print(check_fiftyone(folder, root))
    with tempfile.TemporaryDirectory() as data:
        settings = {
            "LABEL_STUDIO_BASE_DATA_DIR": data,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
            "COLLECT_ANALYTICS": "False",
        }
        user = ["--username", "reviewer@example.com", "--password", "reviewer", "--user-token", TOKEN]
        program = str(Path(sys.executable).parent / "label-studio")
        words = [program, "start", "--no-browser", "--port", str(PORT), "--internal-host", "127.0.0.1", *user]
        with open(folders[0] / "server.log", "wb") as log:
            server = subprocess.Popen(words, env=os.environ | settings, stdout=log, stderr=log)
            try:
                wait_for(server)
                for folder in folders:
                    print(check_label_studio(folder, root))
            finally:
                server.terminate()
                server.wait()


def ask(method: str, path: str, **options: Any) -> requests.Response:
    """One request, which must succeed."""
    answer = requests.request(method, HOST + path, headers={"Authorization": f"Token {TOKEN}"}, timeout=120, **options)
    if not answer.ok:
        raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
    return answer


def wait_for(server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        try:
            ask("GET", "/api/projects")
        except requests.ConnectionError:
            time.sleep(1)
        else:
            return
    raise SystemExit("Label Studio did not start; see server.log")


def check_label_studio(folder: Path, root: Path) -> str:
    from label_studio_sdk.label_interface import LabelInterface

    tasks = json.loads((folder / "tasks.json").read_text())
    setup = (folder / "tasks.xml").read_text()
    interface = LabelInterface(setup)
    interface.validate()
    for task in tasks:
        for prediction in task["predictions"]:
            errors = interface.validate_prediction(prediction, return_errors=True)
            assert not errors, errors
    project = ask("POST", "/api/projects", json={"title": "audit", "label_config": setup}).json()["id"]
    place = unquote(tasks[0]["data"]["image"]).partition("?d=")[2].partition("/")[0]
    ask("POST", "/api/storages/localfiles", json={"project": project, "path": str(root / place)})
    imported = ask("POST", f"/api/projects/{project}/import", json=tasks).json()
    assert (imported["task_count"], imported["prediction_count"]) == (len(tasks), len(tasks)), imported
    stored = ask("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true").json()
    assert [task["meta"] for task in stored] == [task["meta"] for task in tasks]
    for number, task in enumerate(stored):
        assert ask("GET", task["data"]["image"]).headers["Content-Type"].startswith("image/")
        result = tasks[number]["predictions"][0]["result"]
        made = {"result": result, "was_cancelled": number == len(stored) - 1}
        ask("POST", f"/api/tasks/{task['id']}/annotations/", json=made)
    exported = ask("GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true").json()
    (folder / "annotated.json").write_text(json.dumps(exported))
    import label_studio

    return f"Label Studio {label_studio.__version__}: {len(tasks)} tasks imported, {len(exported) - 1} annotated"


def check_fiftyone(folder: Path, root: Path) -> str:
    import fiftyone
    from fiftyone.utils.data import FiftyOneImageClassificationDatasetExporter as Exporter
    from fiftyone.utils.data import FiftyOneImageClassificationDatasetImporter as Importer

    before = json.loads((folder / "labels.json").read_text())
    importer = Importer(data_path=str(root), labels_path=str(folder / "labels.json"))
    exporter = Exporter(
        labels_path=str(folder / "reviewed.json"),
        export_media=False,
        rel_dir=str(root),
        classes=before["classes"],
    )
    count = 0
    with importer, exporter:
        for path, _, label in importer:
            assert Path(path).is_file(), path
            several = getattr(label, "classifications", [label])
            assert all(one.label in before["classes"] and one.verdict for one in several), label
            exporter.export_sample(path, label)
            count += 1
    assert count == len(before["labels"])
    return f"FiftyOne {fiftyone.__version__}: {count} labels imported and exported"


if __name__ == "__main__":
    main()
