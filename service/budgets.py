"""Every budget of the service, with its default and why: what a request may cost, and what a process.

Going over one is a problem with a slug of its own (docs/api.md); /metrics shows how near each is.
"""

from pydantic import Field
from pydantic_settings import BaseSettings

KIB, MIB = 2**10, 2**20
# What no setting allows more of: schemas stop here before they look at each image.
MOST_IMAGES = 4096
# Bodies up to this size are parsed on the event loop, which costs less than the hand-over to a thread, and
# are not counted among those that are held.
SMALL_BODY = 64 * KIB


class RequestBudgets(BaseSettings):
    """What one request may cost."""

    max_head_bytes: int = Field(
        default=32 * KIB,
        ge=4 * KIB,
        description="Request line and headers; other servers allow 8 to 32 KiB.",
    )
    max_body_bytes: int = Field(
        default=8 * MIB,
        ge=1024,
        description="Size of a request body: 500 images as numbers of 20 digits.",
    )
    max_json_values: int = Field(
        default=262_144,
        ge=1024,
        description="Values in a JSON body, counted before it is parsed; an image has its pixels and rows.",
    )
    max_json_fields: int = Field(
        default=4096, ge=64, description="Fields in a JSON body, counted before too; an image file is one."
    )
    max_images: int = Field(default=256, ge=1, le=MOST_IMAGES, description="Images in one predict request.")
    max_explain_images: int = Field(
        default=64,
        ge=1,
        le=MOST_IMAGES,
        description="Images in one explain request, each 120 KB of answer.",
    )
    max_attack_images: int = Field(
        default=8, ge=1, le=MOST_IMAGES, description="Images in one attack request."
    )
    max_certify_images: int = Field(
        default=64, ge=1, le=MOST_IMAGES, description="Images in one certify request."
    )
    max_png_pixels: int = Field(default=16_000_000, ge=64, description="Pixels of one file once unpacked.")
    max_pixels: int = Field(
        default=64_000_000,
        ge=64,
        description="Pixels of all files of a request: five photographs.",
    )
    max_answer_numbers: int = Field(
        default=2_000_000,
        ge=1000,
        description="Numbers in an answer; 64 whole explanations have 900,000.",
    )
    max_attack_queries: int = Field(
        default=100_000, ge=1, description="Highest query budget of an attack, per image."
    )
    max_attack_steps: int = Field(default=100_000, ge=1, description="Steps of one attack.")
    head_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="From the first byte of a request, or a connection, to the head's last.",
    )
    body_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="From a head's last byte to its body's: 8 MiB at 7 Mbit a second.",
    )
    request_timeout_ms: int = Field(
        default=10_000,
        ge=1,
        description="Deadline of a predict or explain request that names none, in threads too.",
    )
    attack_timeout_seconds: float = Field(
        default=60.0, gt=0, description="Wall time of one attack request, waiting included."
    )
    certify_timeout_seconds: float = Field(
        default=30.0, gt=0, description="Wall time of one certify request, waiting included."
    )
    write_timeout_seconds: float = Field(
        default=30.0,
        gt=0,
        description="From the first unread byte of an answer to its last.",
    )


class Budgets(RequestBudgets):
    """What one request may cost, and what all requests of a serving process may together."""

    max_requests: int = Field(
        default=128, ge=1, description="Requests in progress, their bodies read; more get 429."
    )
    target_latency_ms: float = Field(
        default=50.0,
        ge=0,
        description="While small predictions take longer, fewer may be in progress, down to 32. 0: never.",
    )
    max_waiting_images: int = Field(
        default=1024, ge=1, description="Images that may wait for inference; requests beyond get 429."
    )
    threads: int = Field(
        default=2, ge=1, le=64,
        description="Threads of each kind, so that none starves another: parsing, unpacking, explaining.",
    )  # fmt: skip
    thread_queue: int = Field(
        default=32, ge=0, description="Requests that may wait for a thread of one kind; more get 429."
    )
    attack_queue: int = Field(
        default=16, ge=0, description="Attack requests that may wait for a worker; more get 429."
    )
    certify_queue: int = Field(
        default=64, ge=0, description="Certify requests that may wait for a worker; more get 429."
    )
    max_connections: int = Field(
        default=1024, ge=1, description="Open connections; each may cost 0.3 MB at worst."
    )
    max_connections_per_address: int = Field(
        default=512,
        ge=1,
        description="Open connections of one address; a proxy is one.",
    )
    max_pipelined_requests: int = Field(
        default=32, ge=1, description="Requests on one connection before the first is answered."
    )
    max_buffered_input_bytes: int = Field(
        default=64 * MIB,
        ge=MIB,
        description="Bodies of more than 64 KiB, together; the oldest are given up first.",
    )
    max_buffered_output_bytes: int = Field(
        default=64 * MIB,
        ge=MIB,
        description="Answers of more than 128 KiB, made or unread, together.",
    )
    keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        description="How long an idle connection is kept; longer than a load balancer does.",
    )
