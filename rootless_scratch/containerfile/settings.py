"""The instructions that set the config of an image, each as builders read it.

CMD, ENTRYPOINT, HEALTHCHECK, SHELL, ONBUILD and MAINTAINER are taken as they are written, all others are expanded.
"""

from __future__ import annotations

import posixpath
import re
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from rootless_scratch.containerfile.document import Instruction, Token
from rootless_scratch.containerfile.expanded import Expander, InstructionError
from rootless_scratch.containerfile.stages import declare
from rootless_scratch.errors import SpecError, UsageError
from rootless_scratch.expressions import expression
from rootless_scratch.image.paths import image_path, is_utf8
from rootless_scratch.image.plan.settings import require_user, signal_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rootless_scratch.containerfile.evaluated import StageConfig

_SHELL = ("/bin/sh", "-c")
_PORT = expression(
    r"(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?(?:/(?P<protocol>tcp|udp|sctp))?", re.IGNORECASE
)
_PORT_MAX = 65535


class Settings:
    """The config of a stage while its instructions are carried out; `config` is that which it begins with.

    `raw` keeps ports, volumes, stop signal and working directory as they are written, as buildah does. `settled`
    has the instruction that set a field last, by its name, or by `env.NAME` and `labels.NAME`.
    """

    def __init__(self, config: StageConfig, settled: dict[str, Instruction], *, compat: str | None) -> None:
        self._config = config
        self._pairs = {"env": dict(config.env), "labels": dict(config.labels)}
        self.settled = settled
        self._raw = compat == "buildah"
        self._own_cmd = False

    @property
    def config(self) -> StageConfig:
        """What the instructions come to so far."""
        return self._config.but(**{field: tuple(pairs.items()) for field, pairs in self._pairs.items()})

    @property
    def workdir(self) -> str:
        """Where relative paths begin."""
        return normal_path(self._config.workdir or "/")

    @property
    def user(self) -> str | None:
        """Whose directories WORKDIR makes."""
        return self._config.user

    @property
    def shell(self) -> str:
        """What RUN starts where it is not in JSON form."""
        return (self._config.shell or _SHELL)[0]

    def apply(self, instruction: Instruction, expander: Expander) -> bool:
        """Carry out an instruction; False where it is not one of these. Raises InstructionError."""
        work = self._WORK.get(instruction.name)
        if work is None:
            return False
        work(self, instruction, expander)
        return True

    def _set(self, instruction: Instruction, **fields: object) -> None:
        for value in fields.values():
            for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
                _require_text(text if isinstance(text, str) else " ".join(text), instruction)
        self._config = self._config.but(**fields)
        self.settled.update(dict.fromkeys(fields, instruction))

    def _merge(self, field: str, instruction: Instruction, pairs: Iterable[tuple[str, str]]) -> None:
        for (name, _), (key, value) in zip(instruction.pairs, pairs, strict=True):
            if not key or "=" in key:
                raise InstructionError(
                    f"{key!r} is not a name that {instruction.name} can set.",
                    fix=f"Write it as {instruction.name} NAME=VALUE; names are not empty and hold no `=`.",
                    span=name.span,
                )
            _require_text(f"{key}={value}", instruction)
            self._pairs[field][key] = value
            self.settled[f"{field}.{key}"] = instruction

    def _env(self, instruction: Instruction, expander: Expander) -> None:
        pairs = declare(instruction, expander.scope, lambda token: expander.text(instruction, token))
        self._merge("env", instruction, [(name, value or "") for name, value in pairs])

    def _arg(self, instruction: Instruction, expander: Expander) -> None:
        declare(instruction, expander.scope, lambda token: expander.text(instruction, token))

    def _label(self, instruction: Instruction, expander: Expander) -> None:
        pairs = [
            (expander.text(instruction, name), "" if value is None else expander.text(instruction, value))
            for name, value in instruction.pairs
        ]
        self._merge("labels", instruction, pairs)

    def _expose(self, instruction: Instruction, expander: Expander) -> None:
        ports = dict.fromkeys(self._config.ports)
        for token in instruction.tokens:
            for text in expander.expand(instruction, token).arguments:
                ports.update(dict.fromkeys(self._ports(text, token)))
        self._set(instruction, ports=tuple(ports))

    def _ports(self, text: str, token: Token) -> list[str]:
        if self._raw:
            return [text if "/" in text else f"{text}/tcp"]
        match = _PORT.fullmatch(text)
        first = int(match["first"]) if match else 0
        last = int(match["last"] or first) if match else 0
        if match is None or not 1 <= first <= last <= _PORT_MAX:
            raise InstructionError(
                f"{text!r} is not a port.",
                fix="Write it as 8080, 8080/udp or 8000-8010; `run -p` chooses the port of the host.",
                span=token.span,
            )
        protocol = (match["protocol"] or "tcp").lower()
        return [f"{port}/{protocol}" for port in range(first, last + 1)]

    def _volume(self, instruction: Instruction, expander: Expander) -> None:
        volumes = dict.fromkeys(self._config.volumes)
        for token, raw in arguments_of(instruction):
            path = expander.text(instruction, raw)
            if not self._raw:
                path = _checked(partial(image_path, path, what="volume"), token)
            volumes[path] = None
        self._set(instruction, volumes=tuple(volumes))

    def _user(self, instruction: Instruction, expander: Expander) -> None:
        user = expander.text(instruction)
        if user and not self._raw:
            _checked(partial(require_user, user), instruction)
        self._set(instruction, user=user or None)

    def _workdir(self, instruction: Instruction, expander: Expander) -> None:
        text = expander.text(instruction) or "/"
        path = posixpath.join(self._config.workdir or "/", text)
        if self._raw:
            # buildah cleans what it joins, and nothing else.
            path = text if text.startswith("/") else normal_path(path)
        else:
            path = _checked(partial(image_path, normal_path(path), what="working directory"), instruction)
        self._set(instruction, workdir=path)

    def _stop_signal(self, instruction: Instruction, expander: Expander) -> None:
        text = expander.text(instruction)
        name = _checked(partial(signal_name, text), instruction)
        self._set(instruction, stop_signal=text if self._raw else name)

    def _entrypoint(self, instruction: Instruction, _expander: Expander) -> None:
        # A CMD that an image below has set was for its own entrypoint.
        inherited = {} if self._own_cmd else {"cmd": None}
        self._config = self._config.but(**inherited)
        self._set(instruction, entrypoint=self._argv(instruction))

    def _cmd(self, instruction: Instruction, _expander: Expander) -> None:
        self._own_cmd = True
        self._set(instruction, cmd=self._argv(instruction))

    def _argv(self, instruction: Instruction) -> tuple[str, ...]:
        if instruction.exec_form is not None:
            return instruction.exec_form
        if instruction.array_trouble == "rest":
            # So do buildah and docker's builders; what BuildKit documents since is the shell form.
            return instruction.array_strings
        # buildah takes SHELL for RUN alone.
        shell = _SHELL if self._raw or self._config.shell is None else self._config.shell
        return (*shell, instruction.text)

    def _shell(self, instruction: Instruction, _expander: Expander) -> None:
        if not instruction.exec_form:
            raise InstructionError(
                "SHELL is not a JSON array.", fix='Write it as SHELL ["/bin/sh", "-c"].', span=instruction.span
            )
        self._set(instruction, shell=instruction.exec_form)

    def _healthcheck(self, instruction: Instruction, _expander: Expander) -> None:
        inner = instruction.inner
        if inner is None or inner.name == "NONE":
            test: tuple[str, ...] = ("NONE",)
        elif inner.exec_form is not None:
            test = ("CMD", *inner.exec_form)
        else:
            test = ("CMD-SHELL", inner.text)
        options = tuple((flag.name, flag.value or "") for flag in instruction.flags)
        self._set(instruction, healthcheck=test, health_options=options)

    def _onbuild(self, instruction: Instruction, _expander: Expander) -> None:
        self._set(instruction, onbuild=(*self._config.onbuild, instruction.text))

    def _maintainer(self, instruction: Instruction, _expander: Expander) -> None:
        self._set(instruction, author=instruction.text)

    _WORK: ClassVar[Mapping[str, Callable[[Settings, Instruction, Expander], None]]] = {
        "ARG": _arg,
        "CMD": _cmd,
        "ENTRYPOINT": _entrypoint,
        "ENV": _env,
        "EXPOSE": _expose,
        "HEALTHCHECK": _healthcheck,
        "LABEL": _label,
        "MAINTAINER": _maintainer,
        "ONBUILD": _onbuild,
        "SHELL": _shell,
        "STOPSIGNAL": _stop_signal,
        "USER": _user,
        "VOLUME": _volume,
        "WORKDIR": _workdir,
    }


def normal_path(path: str) -> str:
    """An absolute path without `.`, `..` and double slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def arguments_of(instruction: Instruction) -> list[tuple[Token, Token]]:
    """The arguments, or the strings of a JSON array: each as it is written, and as it is to be expanded."""
    if instruction.exec_form is None:
        return [(token, token) for token in instruction.tokens]
    return [
        (token, Token(raw=text, span=token.span))
        for token, text in zip(instruction.tokens, instruction.exec_form, strict=True)
    ]


def _require_text(text: str, where: Instruction) -> None:
    if not is_utf8(text) or "\0" in text:
        raise InstructionError(
            f"{text!r} is not UTF-8, and an image's config is JSON (OCI image-spec v1.1, config.md).",
            fix="Write it in UTF-8, without NUL bytes.",
            span=where.span,
        )


def _checked(read: Callable[[], str], where: Instruction | Token) -> str:
    """What a value of Spec comes to; the error that it has there says where it stands here."""
    try:
        return read()
    except (SpecError, UsageError) as error:
        raise InstructionError(error.message, fix=error.fix, span=where.span) from error
