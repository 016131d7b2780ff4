"""An authenticated WebSocket hub for Quart apps on Trio."""

from quart_wshub.auth.identity import BearerResolver, Identity, UserId
from quart_wshub.auth.jwt import JWTUtils, jwt_bearer_resolver
from quart_wshub.broker.base import BrokerStatistics
from quart_wshub.cluster.view import ClusterAnswer, ClusterView
from quart_wshub.connection.statistics import ConnectionStatistics
from quart_wshub.connection.websocket import WebSocket
from quart_wshub.connection.websocket_connection import WebSocketConnection
from quart_wshub.description.route import Route, Sent
from quart_wshub.hub.handler import Handler
from quart_wshub.hub.statistics import HubStatistics
from quart_wshub.hub.websocket_hub import WebSocketHub
from quart_wshub.messages.router import MessageRouter
from quart_wshub.messages.topic_policy import SubscribePolicy
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.error_codes import ErrorCode
from quart_wshub.protocol.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    InvalidEnvelopeError,
    InvalidJSONError,
    InvalidTextError,
    InvalidTopicError,
    MessageError,
    MessageTooBigError,
    PeerError,
    ProtocolViolationError,
    RequestFailedError,
    RequestLimitError,
    RequestTimeoutError,
    TopicLimitError,
    UnknownConnectionError,
    UnsupportedDataError,
    UsageError,
    WebSocketDisconnect,
    WSHubError,
)
from quart_wshub.settings import WebSocketSettings
from quart_wshub.web.blueprint import make_websocket_blueprint

__all__ = [
    "BearerResolver",
    "BrokerStatistics",
    "BrokerUnavailableError",
    "CloseCode",
    "ClusterAnswer",
    "ClusterView",
    "ConfigurationError",
    "ConnectionStatistics",
    "ErrorCode",
    "Handler",
    "HubStatistics",
    "Identity",
    "InvalidEnvelopeError",
    "InvalidJSONError",
    "InvalidTextError",
    "InvalidTopicError",
    "JWTUtils",
    "MessageError",
    "MessageRouter",
    "MessageTooBigError",
    "PeerError",
    "ProtocolViolationError",
    "RequestFailedError",
    "RequestLimitError",
    "RequestTimeoutError",
    "Route",
    "Sent",
    "SubscribePolicy",
    "TopicLimitError",
    "UnknownConnectionError",
    "UnsupportedDataError",
    "UsageError",
    "UserId",
    "WSEnvelope",
    "WSHubError",
    "WebSocket",
    "WebSocketConnection",
    "WebSocketDisconnect",
    "WebSocketHub",
    "WebSocketSettings",
    "jwt_bearer_resolver",
    "make_websocket_blueprint",
]
