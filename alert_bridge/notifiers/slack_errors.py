"""What Slack's Web API answers with 200 and `"ok": false`: which of it may succeed later.

Source: the tables of errors at https://docs.slack.dev/reference/methods/chat.postMessage, chat.update,
files.getUploadURLExternal and files.completeUploadExternal.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from alert_bridge.notifier import DeliveryFailed
from alert_bridge.posting import Answer, retry_seconds
from cloudpulse.clock import Clock

T = TypeVar("T")

REFUSED: Final = frozenset(
    """
    attachment_payload_limit_exceeded invalid_arg_name invalid_arguments invalid_array_arg invalid_attachments
    invalid_blocks invalid_blocks_format invalid_charset invalid_form_data invalid_json invalid_metadata_format
    invalid_metadata_schema invalid_post_type json_not_object markdown_text_conflict metadata_too_large
    missing_post_type msg_blocks_too_long msg_too_long no_text slack_connect_file_upload_sharing_blocked
    too_many_attachments
    """.split()  # noqa: SIM905  as a table it is easier to read
)
"""Errors that judge the message itself, as the statuses in `notifier.REFUSED` do."""

HINTS: Final = {
    "account_inactive": "the token's app was removed: install it again",
    "channel_not_found": "check `channel`, and invite the app to it if it is private",
    "invalid_auth": "check `token`",
    "is_archived": "the channel is archived",
    "missing_scope": "give the app chat:write and files:write",
    "not_authed": "check `token`",
    "not_in_channel": "invite the app to the channel",
    "token_expired": "check `token`",
    "token_revoked": "check `token`",
}
"""What to do about errors that people can put right while the notification waits."""

_OTHERS: Final = frozenset(
    """
    cant_update_message duplicate_channel_not_found duplicate_message_not_found edit_window_closed ekm_access_denied
    fatal_error internal_error message_limit_exceeded message_not_found no_permission not_allowed_token_type
    org_login_required rate_limited ratelimited request_timeout restricted_action restricted_action_read_only_channel
    restricted_action_thread_locked service_unavailable team_access_not_granted team_added_to_org team_not_found
    thread_not_found
    """.split()  # noqa: SIM905  as above
)


class Refused(DeliveryFailed):
    """Slack said no; `code` is one of the errors that it documents, or empty."""

    def __init__(self, message: str, code: str, *, retryable: bool, retry_after_seconds: float | None) -> None:
        super().__init__(message, retryable=retryable, retry_after_seconds=retry_after_seconds)
        self.code = code


class _Head(msgspec.Struct):
    ok: bool
    error: str = ""


def check(kind: type[T], answer: Answer, place: str, method: str, clock: Clock) -> T:
    """The answer as `kind`; raises Refused for `"ok": false`, DeliveryFailed for what isn't Slack's JSON."""
    try:
        head = msgspec.json.decode(answer.body, type=_Head)
        if head.ok:
            return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise DeliveryFailed(f"{place} answered {method} with something that isn't Slack's", retryable=True) from None
    # Shown only if it is one of these words, since an answer could hold anything.
    code = head.error if head.error in REFUSED | HINTS.keys() | _OTHERS else ""
    hint = f" ({HINTS[code]})" if code in HINTS else ""
    raise Refused(
        f"{place} refused {method}: {code or 'an error that is not in our table'}{hint}",
        code,
        retryable=code not in REFUSED,
        retry_after_seconds=retry_seconds(answer.headers.get("Retry-After"), clock),
    )
