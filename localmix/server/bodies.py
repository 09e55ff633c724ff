"""What OpenAI's clients send, as types: unknown fields are left aside, known ones of a wrong type are an error.

Absent and null are the same. https://platform.openai.com/docs/api-reference
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from localmix.server import limits

Text = Annotated[str, Meta(max_length=limits.BODY)]
Stop = Text | Annotated[list[Text], Meta(max_length=limits.STOPS)]
Count = Annotated[int, Meta(ge=1, le=128)]
Ids = list[int]


class StreamOptions(Struct, kw_only=True):
    include_usage: bool | None = None


class JsonSchema(Struct, kw_only=True):
    """The schema is a raw value: whether it can be kept is found out by the grammar."""

    name: str | None = None
    schema: dict[str, Any] | bool | None = None
    strict: bool | None = None


class ResponseFormat(Struct, kw_only=True):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None  # as llama.cpp has it


class Sampling(Struct, kw_only=True):
    """How answers are chosen: OpenAI's names, then llama.cpp's."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Stop | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float | bool] | list[tuple[int | str, float | bool]] | None = None
    n: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    repetition_penalty: float | None = None  # as vLLM has it: of everything in the context
    samplers: list[str] | str | None = None
    ignore_eos: bool | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n_predict: int | None = None
    n_cmpl: Count | None = None
    return_progress: bool | None = None
    timings_per_token: bool | None = None

    @property
    def limit(self) -> int | None:
        """Tokens of an answer, at most; None: nothing is said of that."""
        named = (self.n_predict, self.max_completion_tokens, self.max_tokens)
        return next((one for one in named if one is not None), None)

    @property
    def count(self) -> int:
        """How many answers."""
        return self.n or self.n_cmpl or 1


def sampling_of(body: Sampling) -> dict[str, Any]:
    """The fields that interfaces share."""
    return {name: getattr(body, name) for name in Sampling.__struct_fields__}


class Completion(Sampling, kw_only=True):
    """/v1/completions"""

    prompt: Text | list[int | Text | list[int]] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=limits.LOGPROBS)] | bool | None = None
    echo: bool | None = None
    add_special_tokens: bool | None = None


class Part(Struct, kw_only=True):
    """A part of a message's content."""

    type: str
    text: str | None = None


class Function(Struct, kw_only=True):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(Struct, kw_only=True):
    id: str | None = None
    type: str | None = None
    function: Function | None = None


class Message(Struct, kw_only=True):
    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None  # before there were tool_calls
    reasoning_content: str | None = None
    reasoning: str | None = None


class FunctionSchema(Struct, kw_only=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Struct, kw_only=True):
    type: str = "function"
    function: FunctionSchema | None = None


class Chosen(Struct, kw_only=True):
    """A tool that has to be called."""

    type: str = "function"
    function: Function | None = None


class ChatCompletion(Sampling, kw_only=True):
    """/v1/chat/completions"""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=limits.MESSAGES)]
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=limits.LOGPROBS)] | None = None
    tools: Annotated[list[Tool], Meta(max_length=limits.TOOLS)] | None = None
    tool_choice: Literal["auto", "none", "required"] | Chosen | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    think: bool | None = None  # as ollama has it
    chat_template_kwargs: dict[str, Any] | None = None
    routes: bool | None = None  # which experts wrote each token: ours
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
