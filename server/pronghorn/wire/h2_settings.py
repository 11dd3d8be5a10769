"""Settings of an HTTP/2 connection: ours, which are options, and the peer's, which are checked (RFC 9113 §6.5)."""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from h2.settings import SettingCodes

from .h2_frames import FLOW_CONTROL_ERROR, FRAME_SIZE, LARGEST, LARGEST_FRAME, PROTOCOL_ERROR, WINDOW

_ENABLE_PUSH: Final = int(SettingCodes.ENABLE_PUSH)
_MAX_CONCURRENT_STREAMS: Final = int(SettingCodes.MAX_CONCURRENT_STREAMS)
_INITIAL_WINDOW_SIZE: Final = int(SettingCodes.INITIAL_WINDOW_SIZE)
_MAX_FRAME_SIZE: Final = int(SettingCodes.MAX_FRAME_SIZE)
_MAX_HEADER_LIST_SIZE: Final = int(SettingCodes.MAX_HEADER_LIST_SIZE)
_ENABLE_CONNECT_PROTOCOL: Final = int(SettingCodes.ENABLE_CONNECT_PROTOCOL)
_NO_RFC7540_PRIORITIES: Final = 0x9  # RFC 9218 §2.1

_PAIRS: Final = Struct(">HI")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSettings:
    """What this server allows its peers. Windows and frames are in bytes; `connect` offers extended CONNECT (RFC 8441)."""

    max_concurrent_streams: int = 100
    max_frame_size: int = FRAME_SIZE
    initial_window: int = 262_144
    connection_window: int = 1_048_576
    connect: bool = True

    def values(self, max_header_list_size: int) -> dict[int, int]:
        """Those to be told to the peer, by their code."""
        values = {
            _MAX_CONCURRENT_STREAMS: self.max_concurrent_streams,
            _INITIAL_WINDOW_SIZE: self.initial_window,
            _MAX_FRAME_SIZE: self.max_frame_size,
            _MAX_HEADER_LIST_SIZE: max_header_list_size,
            _NO_RFC7540_PRIORITIES: 1,
        }
        if self.connect:
            values[_ENABLE_CONNECT_PROTOCOL] = 1
        return values


class PeerSettings:
    """What the peer allows us, as its last SETTINGS frame says."""

    __slots__ = ("enable_push", "initial_window", "max_concurrent_streams", "max_frame_size")

    def __init__(self) -> None:
        self.initial_window = WINDOW
        self.max_frame_size = FRAME_SIZE
        self.enable_push = True
        self.max_concurrent_streams = LARGEST

    def take(self, payload: bytes) -> int:
        """Take in the payload of a SETTINGS frame, whose size is a multiple of six. Returns an error code, 0 for none.

        The size of its header table does not matter to one who never puts anything into it.
        """
        for code, value in _PAIRS.iter_unpack(payload):
            if code == _INITIAL_WINDOW_SIZE:
                if value > LARGEST:
                    return FLOW_CONTROL_ERROR
                self.initial_window = value
            elif code == _MAX_FRAME_SIZE:
                if not FRAME_SIZE <= value <= LARGEST_FRAME:
                    return PROTOCOL_ERROR
                self.max_frame_size = value
            elif code == _ENABLE_PUSH:
                if value > 1:
                    return PROTOCOL_ERROR
                self.enable_push = value == 1
            elif code == _MAX_CONCURRENT_STREAMS:
                self.max_concurrent_streams = value
            elif code in (_ENABLE_CONNECT_PROTOCOL, _NO_RFC7540_PRIORITIES) and value > 1:
                return PROTOCOL_ERROR
        return 0
