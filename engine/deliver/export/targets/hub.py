"""An export in a repository of the Hugging Face Hub: private unless said otherwise."""

from __future__ import annotations

from pathlib import Path

from engine.deliver.export.card import card
from engine.deliver.export.hub_task import hub_task
from engine.deliver.export.job import Job, Needs, Target, Tell
from engine.deliver.export.manifest import find_export, note_extra
from engine.deliver.export.needs import PROGRAM, SLACK
from engine.display import printable
from engine.errors import UserError
from engine.hub.upload import check_repo_name, push, require_login

FORMS = ("adapter", "merged", "gguf")


def _form(job: Job) -> str:
    return job.options.get("push_as") or ("adapter" if job.trained.is_adapter else "merged")


def _needs(job: Job) -> Needs:
    return Needs(SLACK, PROGRAM // 4, "the record of the upload")


def _refuse(job: Job) -> UserError | None:
    repo = job.options.get("repo")
    if not repo:
        return UserError(
            "The repository has no name.",
            "--repo",
            f"Give it one, such as: --repo {printable(job.run.name, 64)}",
        )
    if _form(job) not in FORMS:
        return UserError(
            f"{printable(_form(job), 40)!r} cannot be pushed.",
            "--push_as",
            f"Choose one of: {', '.join(FORMS)}",
        )
    try:
        check_repo_name(repo)
        require_login()
    except UserError as error:
        return error
    return None


def _make(job: Job, into: Path, tell: Tell) -> None:
    form = _form(job)
    made = find_export(job, form)
    assert made is not None, "the core makes it first"
    if (made.proof or {}).get("verdict") == "differs":
        tell.say(
            "The check of this export failed when it was made: it does not answer like the trained model."
        )
    tell.step("Uploading")
    files: dict[str, Path | bytes] = {file.path: made.folder / file.path for file in made.files}
    if "README.md" not in files:
        files["README.md"] = card(job, "gguf").encode()

    repo, private = job.options["repo"], not job.is_on("public")
    message = f"{form} of {job.run.name} ({job.which}), made with finetui"
    try:
        pushed = push(files, repo, private, message, hub_task(tell, repo, files_are_steps=True))
    except Exception:
        tell.check()
        raise
    if not private and pushed.private:
        tell.say("The repository existed already and is private; it stays so. Its page can change that.")
    note_extra(
        into,
        url=pushed.url,
        repo=pushed.repo_id,
        commit=pushed.commit,
        private=pushed.private,
        pushed=form,
        verdict=(made.proof or {}).get("verdict"),
        bytes=sum(file.bytes for file in made.files),
    )


TARGET = Target(
    name="hub",
    title="Hugging Face Hub",
    help="To a repository of your account: adapter, merged model or GGUF; private by default.",
    needs=_needs,
    refuse=_refuse,
    make=_make,
    requires=_form,
    options=("repo", "public", "push_as", "dtype"),
    replaces=True,
)
