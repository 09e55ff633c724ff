"""Twenty conversations rendered for gpt-oss by its chat template here and by openai-harmony: the text of both.

usage: TIKTOKEN_ENCODINGS_BASE=FOLDER PYTHONPATH=. python tests/peers/harmony.py TEMPLATE.jinja
needs: openai-harmony 0.0.8; the folder has o200k_base.tiktoken

The template is what a GGUF file of gpt-oss carries. It differs from openai-harmony in four places, which are made
alike: two newlines behind instructions without tools, `json` for `<|constrain|>json`, results of tools as JSON strings,
a comma behind a default. Thoughts of turns that were answered are given to the template alone, which leaves them all
out; openai-harmony leaves out those of the first. What it reads in answers is in tests/data.
"""

import datetime
import json
import re
import sys
from pathlib import Path
from typing import Any

from openai_harmony import (
    Conversation,
    DeveloperContent,
    HarmonyEncodingName,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    ToolDescription,
    load_harmony_encoding,
)

from localmix.template.sandbox import render

DAY = datetime.date.today().isoformat()
WEATHER = {
    "name": "weather",
    "description": "Weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where"},
            "days": {"type": "integer", "default": 1},
            "unit": {"type": "string", "enum": ["C", "F"]},
            "parts": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    },
}
NOW = {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str, thinking: str = "") -> dict[str, Any]:
    return {"role": "assistant", "content": text} | ({"thinking": thinking} if thinking else {})


def calls(name: str, thinking: str = "", **arguments: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "thinking": thinking, "tool_calls": [call]}


def result(text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text}


# Messages, tools, effort.
Talk = tuple[list[dict[str, Any]], list[dict[str, Any]], str]
TALKS: list[Talk] = [
    ([user("Hi")], [], "medium"),
    ([user("Hi")], [], "low"),
    ([user("Hi")], [], "high"),
    ([user(" Käse, 你好 🦙\n\n# not a title")], [], "medium"),
    ([user("a < b && c | d <| e")], [], "medium"),
    ([{"role": "system", "content": "Be brief."}, user("Hi")], [], "medium"),
    ([{"role": "system", "content": "Talk\nlike a pirate.\n"}, user("Hi")], [], "high"),
    ([user("Hi"), says("Hello!"), user("Bye")], [], "medium"),
    ([user("Hi"), says("Hello!", "They greet."), user("Bye")], [], "medium"),
    ([user("1"), says("2", "x"), user("3"), says("4", "y"), user("5")], [], "low"),
    ([{"role": "system", "content": "Count."}, user("1"), says("2"), user("3")], [], "medium"),
    ([user("Rain?")], [WEATHER], "medium"),
    ([user("Rain?")], [WEATHER, NOW], "medium"),
    ([user("When?")], [NOW], "low"),
    ([{"role": "system", "content": "Use tools."}, user("Rain?")], [WEATHER], "medium"),
    ([user("Rain?"), calls("weather", city="Paris"), result("wet")], [WEATHER], "medium"),
    ([user("Rain?"), calls("weather", "I ask.", city="Paris", days=2), result("wet")], [WEATHER], "medium"),
    ([user("Rain?"), calls("weather", "I ask.", city="Rome"), result("dry"), says("No."), user("Sure?")],
     [WEATHER], "medium"),
    ([user("Now?"), calls("now", "Clock."), result("12:00"), calls("weather", "And?", city="Oslo"), result("snow")],
     [WEATHER, NOW], "high"),
    ([user("Now?"), calls("now"), result("12:00"), says("Noon.", "Said."), user("Thanks"), says("Bye"), user("?")],
     [NOW], "medium"),
]  # fmt: skip


def theirs(talk: Talk) -> str:
    messages, tools, effort = talk
    system = (
        SystemContent.new().with_conversation_start_date(DAY).with_reasoning_effort(ReasoningEffort(effort.title()))
    )
    found, last = [Message.from_role_and_content(Role.SYSTEM, system)], ""
    developer = DeveloperContent.new()
    if messages[0]["role"] == "system":
        developer = developer.with_instructions(messages[0]["content"])
        messages = messages[1:]
    if tools:
        described = [ToolDescription.new(t["name"], t["description"], t["parameters"] if t["parameters"]["properties"]
                                         else None) for t in tools]  # fmt: skip
        developer = developer.with_function_tools(described)
    if developer.instructions or tools:
        found.append(Message.from_role_and_content(Role.DEVELOPER, developer))
    for one in messages:
        if one.get("thinking") and "tool_calls" in one:
            found.append(Message.from_role_and_content(Role.ASSISTANT, one["thinking"]).with_channel("analysis"))
        if one["role"] == "user":
            found.append(Message.from_role_and_content(Role.USER, one["content"]))
        elif one["role"] == "tool":
            found.append(Message.from_dict({"role": "tool", "name": last, "recipient": "assistant",
                                            "channel": "commentary", "content": one["content"]}))  # fmt: skip
        elif "tool_calls" in one:
            call = one["tool_calls"][0]["function"]
            last = "functions." + call["name"]
            text = json.dumps(call["arguments"])
            message = Message.from_role_and_content(Role.ASSISTANT, text).with_channel("commentary")
            found.append(message.with_recipient(last).with_content_type("<|constrain|>json"))
        else:
            found.append(Message.from_role_and_content(Role.ASSISTANT, one["content"]).with_channel("final"))
    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    ids = encoding.render_conversation_for_completion(Conversation.from_messages(found), Role.ASSISTANT)
    return encoding.decode(ids)


def ours(source: str, talk: Talk) -> str:
    messages, tools, effort = talk
    wrapped = [{"type": "function", "function": tool} for tool in tools] or None
    names = {"messages": messages, "tools": wrapped, "reasoning_effort": effort, "add_generation_prompt": True}
    return render(source, names)


def alike(text: str) -> str:
    """The text without what differs by the template."""
    for pattern, instead in (
        (r"\s+<\|end\|>(?=<\|start\|>user)", "<|end|>"),
        (r"<\|channel\|>commentary (<\|constrain\|>)?json", "<|channel|>commentary json"),
        (r'(to=assistant<\|channel\|>commentary<\|message\|>)"?(.*?)"?<\|end\|>', r"\1\2<|end|>"),
        (r"(// default: [^\n,]*),\n", r"\1\n"),
    ):
        text = re.sub(pattern, instead, text)
    return text


def main() -> None:
    source, same, exact = Path(sys.argv[1]).read_text(), 0, 0
    for number, talk in enumerate(TALKS):
        a, b = ours(source, talk), theirs(talk)
        exact += a == b
        if alike(a) == alike(b):
            same += 1
        else:
            print(f"{number}:\n  ours   {a!r}\n  theirs {b!r}")
    print(f"{len(TALKS)} conversations: {exact} the same text, {same} with those four places made alike")


if __name__ == "__main__":
    main()
