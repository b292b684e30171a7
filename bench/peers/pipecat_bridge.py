"""Pipecat from PyPI with its documented pipeline for Twilio and the Realtime API, as it comes.

Only three things differ from its guide: the model's address, that no call is hung up at Twilio's,
and that its log begins at warnings. Runs in an environment of its own.

Source: Pipecat, "Twilio Media Streams" and "OpenAI Realtime".
"""

from __future__ import annotations

import os
import sys

from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import LLMRunFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.openai.realtime.events import (
    AudioConfiguration,
    AudioInput,
    InputAudioTranscription,
    SemanticTurnDetection,
    SessionProperties,
)
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.websocket.fastapi import (
    FastAPIWebsocketParams,
    FastAPIWebsocketTransport,
)
from pipecat.workers.runner import WorkerRunner

URL = os.environ["BENCH_REALTIME_URL"]
logger.remove()
logger.add(sys.stderr, level="WARNING")
app = FastAPI()


@app.websocket("/media-stream/{name}")
async def media_stream(phone: WebSocket, name: str) -> None:
    """One call."""
    await phone.accept()
    _, call = await parse_telephony_websocket(phone)
    serializer = TwilioFrameSerializer(
        stream_sid=call["stream_id"],
        call_sid=call["call_id"],
        params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
    )
    transport = FastAPIWebsocketTransport(
        websocket=phone,
        params=FastAPIWebsocketParams(
            audio_in_enabled=True,
            audio_out_enabled=True,
            add_wav_header=False,
            serializer=serializer,
        ),
    )
    await _run(transport, name)


async def _run(transport: FastAPIWebsocketTransport, name: str) -> None:
    audio = AudioConfiguration(
        input=AudioInput(
            transcription=InputAudioTranscription(), turn_detection=SemanticTurnDetection()
        )
    )
    llm = OpenAIRealtimeLLMService(
        api_key="bench",
        base_url=URL,
        settings=OpenAIRealtimeLLMService.Settings(
            system_instruction=f"You are talking on {name}.",
            session_properties=SessionProperties(audio=audio),
        ),
    )
    context = LLMContext([{"role": "developer", "content": "Say hello!"}])
    heard, said = LLMContextAggregatorPair(context)
    pipeline = Pipeline([transport.input(), heard, llm, transport.output(), said])
    worker = PipelineWorker(
        pipeline,
        params=PipelineParams(
            audio_in_sample_rate=8000,
            audio_out_sample_rate=8000,
            enable_metrics=True,
            enable_usage_metrics=True,
        ),
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    @transport.event_handler("on_client_connected")
    async def begin(transport: FastAPIWebsocketTransport, client: object) -> None:
        await worker.queue_frames([LLMRunFrame()])

    @transport.event_handler("on_client_disconnected")
    async def end(transport: FastAPIWebsocketTransport, client: object) -> None:
        await runner.cancel()

    await runner.run()
