"""Statuses, channels, expense types and tags."""

from ingest.sandbox.payload.forms import Forms, Json
from ingest.sandbox.records import ExpenseType, Source, Status


def status(forms: Forms, status: Status) -> Json:
    """Return a status; the field group_id is status_group_id in an order."""
    return {
        "id": status.id,
        "name": status.name,
        "alias": status.alias,
        "is_active": status.is_active,
        "group_id": status.group_id,
        "is_closing_order": status.is_closing,
        "is_reserved": status.is_reserved,
        "expiration_period": None,
        "created_at": forms.at(status.created_at),
        "updated_at": forms.at(status.updated_at),
        "deleted_at": None,
    }


def source(forms: Forms, source: Source) -> Json:
    """Return a channel."""
    return {
        "id": source.id,
        "name": source.name,
        "alias": source.alias,
        "driver": source.driver,
        "source_uuid": source.source_uuid,
        "source_name": source.source_name,
        "currency_code": "UAH",
        "created_at": forms.at(source.created_at),
        "updated_at": forms.at(source.updated_at),
    }


def expense_type(kind: ExpenseType) -> Json:
    """Return an expense type; the name of a built-in one is a localisation key."""
    return {
        "id": kind.id,
        "name": kind.name,
        "alias": kind.alias,
        "is_active": kind.is_active,
        "is_reserved": kind.is_reserved,
        "by_order": True,
    }


def tag(forms: Forms, row: tuple[int, str, str, str]) -> Json:
    """Return a tag."""
    id, name, alias, color = row
    at = forms.at(1_706_770_800)
    return {"id": id, "name": name, "alias": alias, "color": color, "created_at": at, "updated_at": at}


def custom_field(row: tuple[int, str, str, str, str, tuple[str, ...]], *, options: bool) -> Json:
    """Return the definition of a custom field; with ``options`` also the values that it allows."""
    id, uuid, name, model, kind, values = row
    found: Json = {"id": id, "name": name, "uuid": uuid, "model": model, "type": kind, "required": False}
    found |= {"position": id, "is_multiple": False}
    if options:
        found["options"] = [
            {"id": id * 100 + at, "field_id": id, "value": each} for at, each in enumerate(values)
        ]
    return found
