from pathlib import PurePosixPath

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.template.defaultfilters import filesizeformat

from guestbook.models import Entry

PICTURE_SUFFIXES = {
    ".gif": "gif",
    ".jpeg": "jpeg",
    ".jpg": "jpeg",
    ".png": "png",
    ".webp": "webp",
}


def picture_type(head):
    """What the first bytes of a file say it is, or None."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return None


def validate_picture(upload):
    limit = settings.GUESTBOOK_PICTURE_MAX_BYTES
    if upload.size > limit:
        raise ValidationError(f"The picture is too large: at most {filesizeformat(limit)}, please.")
    upload.seek(0)
    found = picture_type(upload.read(16))
    upload.seek(0)
    suffix = PurePosixPath(upload.name).suffix.lower()
    if found is None or PICTURE_SUFFIXES.get(suffix) != found:
        raise ValidationError("This is not a PNG, JPEG, GIF or WebP picture.")


class PictureForm(forms.ModelForm):
    """A model form that checks what is uploaded; the admin uses it as well."""

    picture = forms.FileField(required=False, validators=[validate_picture])


class EntryForm(PictureForm):
    picture = forms.FileField(
        label="Picture",
        required=False,
        validators=[validate_picture],
        help_text="PNG, JPEG, GIF or WebP, up to 512 KB.",
        widget=forms.FileInput(attrs={"accept": ".png,.jpg,.jpeg,.gif,.webp"}),
    )
    # People do not see this field, so whoever fills it in is a program.
    homepage = forms.CharField(
        required=False,
        widget=forms.TextInput(attrs={"tabindex": "-1", "autocomplete": "off"}),
    )

    class Meta:
        model = Entry
        fields = ["name", "message", "picture"]
        labels = {"name": "Your name", "message": "Your message"}
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "name"}),
            "message": forms.Textarea(attrs={"rows": 4, "data-counter": "message-left"}),
        }

    def save(self, commit=True):
        self.instance.is_spam = bool(self.cleaned_data["homepage"])
        return super().save(commit)
