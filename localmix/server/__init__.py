"""`localmix serve`: one model behind the interfaces that clients of OpenAI, Anthropic, ollama and llama.cpp speak.

`guard` decides who may ask, `worker` computes in a thread of its own, `stream` carries pieces from there to a client,
and a module for each interface says how requests and answers look. Nothing here is known to what lies below.
"""
