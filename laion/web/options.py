"""The flags of `laion serve`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError
from laion.clip.options import PRETRAINED_TAG
from laion.knn.query_image import MAX_BYTES, MAX_PIXELS
from laion.web.client_address import TrustedProxies
from laion.web.named_folders import named_folders
from laion.web.origin import parse_origin
from laion.web.parameters import MAX_TEXT

#: Characters of the page's name: more do not fit the top of a phone.
MAX_TITLE = 60

#: The addresses of a proxy on this machine.
LOOPBACK = ("127.0.0.0/8", "::1")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Flags of `laion serve`."""

    index: tuple[str, ...] = flag(
        MISSING, "list",
        "the folder that `laion index` made; several as NAME=FOLDER, of which the page has the "
        "first",
    )  # fmt: skip
    port: int = flag(1234, "int", "TCP port; 0 for any that is free")
    host: str = flag("127.0.0.1", "str", "address to listen on; 0.0.0.0 for all networks")
    shards: tuple[str, ...] = flag(
        (), "list",
        "folder of webdataset tars or of image files to show images from (default: load them by "
        "URL); for several indices NAME=FOLDER",
    )  # fmt: skip
    title: str = flag("laion search", "str", "name of the page")
    examples: tuple[str, ...] = flag(
        (), "list",
        "texts to offer on the start page, with results of the first (default: captions of rows "
        "that are tagged safe)",
    )  # fmt: skip
    model: str | None = flag(None, "str?", "CLIP model (default: the one the index names)")
    pretrained: str | None = flag(None, "str?", "weights of the model")
    pretrained_tag: str | None = flag(None, "str?", PRETRAINED_TAG, identity=False)
    max_upload_bytes: int = flag(MAX_BYTES, "size", "largest image to search by")
    max_pixels: int = flag(MAX_PIXELS, "int", "most pixels of an image to search by")
    rate_limit: int = flag(120, "int", "searches a minute for each client; 0 for no limit")
    allowed_hosts: tuple[str, ...] = flag(
        (), "list",
        "host names of this server, besides localhost and this machine's; * for any",
    )  # fmt: skip
    allowed_origins: tuple[str, ...] = flag(
        (), "list",
        "pages of other servers that may search, such as http://127.0.0.1:1235 of clip-retrieval's "
        "front; * for any",
    )  # fmt: skip
    trusted_proxy: tuple[str, ...] = flag(
        (), "list",
        "addresses or networks of proxies, such as 10.0.0.0/8, to take client addresses from in "
        "X-Forwarded-For",
    )  # fmt: skip
    behind_proxy: bool = flag(False, "bool", "the same as --trusted_proxy 127.0.0.0/8,::1")
    max_connections: int = flag(1024, "int", "connections at once")
    max_client_connections: int = flag(
        256, "int", "connections, and requests at once, of one client address"
    )
    max_decode_time: float = flag(
        5.0, "float", "seconds of CPU that decoding an image to search by may take"
    )
    allow_private_addresses: bool = flag(
        False, "bool", "let image URLs reach loopback, private and link-local addresses"
    )

    def __post_init__(self) -> None:
        if not self.index:
            raise UsageError("--index is required: the folder that `laion index` made")
        if not 0 <= self.port < 65536:
            raise UsageError(f"--port must be from 0 to 65535, got {self.port}")
        if not self.title.strip() or len(self.title) > MAX_TITLE:
            raise UsageError(f"--title must have 1 to {MAX_TITLE} characters")
        for text in self.examples:
            if not text.strip() or len(text) > MAX_TEXT:
                raise UsageError(f"--examples: each text must have 1 to {MAX_TEXT} characters")
        at_least("rate_limit", self.rate_limit, 0)
        at_least("max_upload_bytes", self.max_upload_bytes, 1)
        at_least("max_pixels", self.max_pixels, 1)
        at_least("max_connections", self.max_connections, 1)
        at_least("max_client_connections", self.max_client_connections, 1)
        positive("max_decode_time", self.max_decode_time)
        TrustedProxies(self.trusted_proxy)
        self.origins  # noqa: B018 - raises for what is no origin
        self.image_folders  # noqa: B018 - raises for a wrong name

    @property
    def indices(self) -> dict[str, str]:
        """The folders of the indices by name. Raises UsageError."""
        return named_folders("index", self.index)

    @property
    def image_folders(self) -> dict[str, str]:
        """The folders of images by the name of their index. Raises UsageError."""
        names = list(self.indices)
        if len(names) == len(self.shards) == 1 and "=" not in self.shards[0]:
            return {names[0]: self.shards[0]}
        found = named_folders("shards", self.shards)
        for name in found:
            if name not in names:
                raise UsageError(
                    f"--shards: there is no index {name!r}; give NAME=FOLDER with one of "
                    f"{', '.join(names)}"
                )
        return found

    @property
    def origins(self) -> tuple[str, ...]:
        """Allowed origins. Raises UsageError."""
        return tuple(map(parse_origin, self.allowed_origins))

    @property
    def proxies(self) -> tuple[str, ...]:
        """Addresses and networks of all trusted proxies."""
        return (*self.trusted_proxy, *(LOOPBACK if self.behind_proxy else ()))
