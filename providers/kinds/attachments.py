"""What providers allow of attachments, checked before the call: a refusal of theirs would end the email, or they say nothing."""

from collections.abc import Collection, Iterable
from pathlib import PurePath

from django.core.mail import EmailMessage

# Programs and scripts by the extensions of their names, as Amazon SES refuses them, and Resend, which sends through it.
_PROGRAMS = """
    ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse ksh lib lnk mad
    maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh1xml msh2 msh2xml mshxml msi msp mst
    ops pcd pif plg prf prg ps1 ps1xml ps2 ps2xml psc1 psc2 reg scf scr sct shb shs sys tmp url vb vbe vbs vps vsmacros
    vss vst vsw vxd ws wsc wsf wsh xnk
"""
PROGRAMS = frozenset(_PROGRAMS.split())


def get_extension(name: str) -> str:
    """Return the extension of a file's name in lower case, without its dot; empty if it has none."""
    return PurePath(name).suffix.removeprefix(".").lower()


def list_names(message: EmailMessage) -> list[str]:
    """Return the file names of the attachments, an empty one for an attachment without."""
    return [
        (attachment[0] if isinstance(attachment, tuple) else attachment.get_filename()) or ""
        for attachment in message.attachments
    ]


def refuse_extensions(names: Iterable[str], refused: Collection[str], provider: str) -> None:
    """Raise ValueError if a name has one of the extensions that the provider refuses."""
    for name in names:
        if get_extension(name) in refused:
            raise ValueError(f"{provider} carries no attachments of the type .{get_extension(name)}.")


def require_extensions(names: Iterable[str], allowed: Collection[str], provider: str) -> None:
    """Raise ValueError if a name has none of the extensions that the provider allows."""
    for name in names:
        if get_extension(name) not in allowed:
            kind = f"of the type .{get_extension(name)}" if get_extension(name) else "without an extension"
            raise ValueError(f"{provider} carries no attachments {kind}.")
