"""What the service says when it refuses, as an exception that renders itself into the error half of an envelope.

Codes, statuses and words are those of the project's facts about Cloudflare (sections 3 and 4), or of a public report
where a comment says so. A code marked "own" is this double's choice: no client may look at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class ApiError(Exception):
    """A refusal. ``errors`` are the envelope's items: ``(code, message)`` or ``(code, message, chain)``."""

    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        *,
        chain: Sequence[tuple[int, str]] = (),
        also: Sequence[tuple[int, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status}: {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.chain = tuple(chain)
        self.also = tuple(also)
        self.headers = dict(headers or {})

    def render(self) -> list[dict[str, object]]:
        """The envelope's ``errors``."""
        first: dict[str, object] = {"code": self.code, "message": self.message}
        if self.chain:
            first["error_chain"] = _items(self.chain)
        return [first, *_items(self.also)]


def _items(pairs: Sequence[tuple[int, str]]) -> list[dict[str, object]]:
    return [{"code": code, "message": message} for code, message in pairs]


def invalid(code: int, message: str) -> ApiError:
    """A record that the service does not take: 1004 with the reason in its chain."""
    return ApiError(400, 1004, "DNS Validation Error", chain=[(code, message)])


def identical() -> ApiError:
    return ApiError(400, 81058, "An identical record already exists.")


def host_in_use() -> ApiError:
    return ApiError(400, 81053, "An A, AAAA, or CNAME record with that host already exists.")


def host_is_cname() -> ApiError:
    return ApiError(400, 81054, "A CNAME record with that host already exists.")


def no_record() -> ApiError:
    return ApiError(404, 81044, "Record does not exist.")


def no_route(path: str) -> ApiError:
    return ApiError(
        404,
        7003,
        f"Could not route to {path}, perhaps your object identifier is invalid?",
        also=[(7000, "No route for that URI")],
    )


def no_method(method: str) -> ApiError:
    return ApiError(405, 7001, f"Method {method} not available for that URI.")  # own


def bad_body(message: str) -> ApiError:
    return ApiError(400, 9207, message)  # the code: danielpigott/cloudflare-cli issue 63


def bad_request(message: str) -> ApiError:
    """A query parameter or batch that the schema rules out; own code."""
    return ApiError(400, 1000, message)


def no_credentials() -> ApiError:
    return ApiError(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")


def bad_authorization() -> ApiError:
    return ApiError(400, 6003, "Invalid request headers", chain=[(6111, "Invalid format for Authorization header")])


def bad_key() -> ApiError:
    """X-Auth-Email and X-Auth-Key instead of a token (6103: public reports). The double has no such user."""
    return ApiError(400, 6003, "Invalid request headers", chain=[(6103, "Invalid format for X-Auth-Key header")])


def unknown_token() -> ApiError:
    return ApiError(403, 9109, "Invalid access token")


def zone_unauthorized() -> ApiError:
    return ApiError(403, 9109, "Unauthorized to access requested resource")


def may_not_list_zones() -> ApiError:
    """A token for single zones that lists zones without ``name`` (acme-dns-01-cloudflare issue 8, godns pull 83)."""
    return ApiError(403, 0, "Actor requires permission 'com.cloudflare.api.account.zone.list' to list zones")


def no_right() -> ApiError:
    return ApiError(403, 10000, "Authentication error")


def throttled(retry_after: int) -> ApiError:
    message = "Please wait and consider throttling your request speed"
    return ApiError(429, 971, message, headers={"Retry-After": str(retry_after)})
