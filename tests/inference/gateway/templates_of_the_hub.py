"""Chat templates in the manners that published models use."""

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STRICT_ALTERNATION = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in rest %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' }}{% if system is defined and loop.first %}{{ system + '\n\n' }}{% endif %}{{ message['content'] | trim + ' [/INST]' }}
    {%- else %}
        {% generation %}{{- message['content'] + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}
"""
NAMESPACED = """\
{% set ns = namespace(count=0, last='') %}
{% for message in messages %}
{% if message.role == 'system' %}{% continue %}{% endif %}
{% set ns.count = ns.count + 1 %}
{% set ns.last = message.content %}
<{{ message.role }} n={{ ns.count }}{% if message.name is defined %} name={{ message.name | tojson }}{% endif %}>
  {{ message | tojson(indent=2) }}
{% endfor %}
{{ dict(count=ns.count, last=ns.last) | tojson }} {{ {'ä': '<b>'} | tojson(ensure_ascii=True) }} {{ strftime_now('%Y') }}
{% if add_generation_prompt %}<assistant>{% endif %}
{% if tools is not none %}tools{% endif %}{{ eos_token }}{{ pad_token }}"""
ALL = {"chatml": CHATML, "alternation": STRICT_ALTERNATION, "namespaced": NAMESPACED}
