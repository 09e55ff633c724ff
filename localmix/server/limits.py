"""What one request may ask for. Everything a client sends has a bound."""

BODY = 8 << 20  # bytes
RECEIVE_SECONDS = 30  # for a body to arrive
MESSAGES = 4096
PROMPTS = 256  # in one request
TOOLS = 128
STOPS = 64
LOGPROBS = 20  # likely tokens beside each
ALIVE_SECONDS = 10  # between signs of life while a client waits
QUEUE = 128  # requests that wait for a place
