"""Every message the package raises, in spaCy's form: a code to search for, cause and remedy."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence


class _WithCodes(type):
    """Prefix each message with its code, as spaCy's `Errors` does."""

    def __getattribute__(cls, name: str) -> str:
        message: str = super().__getattribute__(name)
        return message if name.startswith("__") else f"[{name}] {message}"


class Errors(metaclass=_WithCodes):
    # Core: texts, template, tokenizer, model (P0xx)
    P001 = (
        "A template's prompt must contain `{{text}}` and `{{label}}`, each exactly once. Correct "
        "this prompt: {prompt!r}"
    )
    P002 = (
        "In a template's prompt, `{{text}}` must come before `{{label}}`, as all labels share the "
        "text. Correct this prompt: {prompt!r}"
    )
    P003 = (
        "A template's `mention` must contain `{{n}}` exactly once, followed by a character that is "
        "not a digit, as in '<mention {{n}}>'. Correct this one: {mention!r}"
    )
    P004 = (
        "A template's `count_end` must not be empty or start with a digit, but it is "
        "{count_end!r}. Use a line break, for example."
    )
    P005 = (
        "There is no template {name!r}. Use one of {names}, or give your own wording: `prompt`, "
        "`count_end` and `mention`."
    )
    P006 = (
        "These fields don't make a template: {fields} ({error}). Set `prompt`. `count_end`, "
        "`mention`, `capitalized` and `all_capitals` are optional."
    )
    P007 = "The label {label!r} or its wording is empty. Give every label a name and a wording."
    P008 = (
        "The label {label!r} or its wording ({wording!r}) contains a line break. Keep both to one "
        "line."
    )
    P010 = (
        "The tokenizer of {name} has no end token, so mentions cannot end. Add one, for example "
        "with `tokenizer.add_special_tokens({{'eos_token': '</s>'}})`. Then resize the model's "
        "embeddings and save both again."
    )
    P011 = (
        "The tokenizer can't encode this text without special tokens: {text!r}. Use a tokenizer "
        "whose special tokens are longer than one character."
    )
    P013 = (
        "Text tags are read at the model's middle layer, but the layers of {model} can't be "
        "identified. Train without tags (tag_text = 0) or ignore them (tag_share = 0)."
    )
    P014 = (
        "An encoder needs a fast tokenizer to be used as a decoder, but {name!r} has none. Use an "
        "encoder with a tokenizer.json."
    )
    P015 = "The shares {shares} don't fit. State {count} numbers above 0, one for each checkpoint."
    P020 = (
        "This package needs an attention mask, but attn_implementation={implementation!r} takes "
        "none. Load the model with attn_implementation='sdpa' or 'eager'."
    )
    P021 = (
        "{model} takes no custom attention mask, so prefix_attention='bidirectional' is "
        "impossible. Set prefix_attention='causal'."
    )
    P023 = (
        "With prompt and mentions, a text may need {depth} tokens, but the model has only "
        "{positions} positions. In a pipeline, shorten the windows of `get_spans`, or set it to "
        "null to get windows that fit. Otherwise, split the text. A lower `max_mention_tokens` "
        "also helps."
    )
    P024 = (
        "A text may need {depth} tokens, but the model has an attention window of {window}, and a "
        "bidirectional prefix must fit into it. In a pipeline, shorten the windows of `get_spans`, "
        "or set it to null to get windows that fit. Otherwise, split the text."
    )
    P025 = (
        "{model} returns no KV cache under this version of transformers, and padded batches need "
        "one. Use transformers 5, or a decoder without padded batches."
    )
    P026 = (
        "The temperatures of a calibration are {written} and {tags}, but must be above 0. "
        "`padellm calibrate` finds them."
    )
    P027 = (
        "The tokenizer of {name} is not the one that the model was trained with: token {id} is "
        "{found!r}, but was {token!r}. Put the tokenizer's own files back, or save the checkpoint "
        "again."
    )
    P028 = (
        "The tokenizer of {name} has {size} tokens, but the model has embeddings of {rows} only. "
        "Give the tokenizer that belongs to the weights."
    )
    P029 = (
        "The model's output is not a number (NaN). Its weights are damaged, or too large for the "
        "precision: restore its files, or load it with dtype='float32' or 'bfloat16'. In training, "
        "the rate may be too high."
    )
    P030 = "{name} is {value}, but must be a probability from 0 to 1."
    P031 = "{name} is {value!r}, but must be one of {values}."
    P032 = "{name} is {value}, but must be at least 1."
    P033 = (
        "There are no labels to find. Set `labels` in the component's config, call "
        "`nlp.initialize()` with annotated examples, or use a checkpoint with labels in its "
        "padellm.json."
    )
    P034 = "tag_text is {value}, but must be 0 (no tags) or a positive weight."
    P035 = "{name} is the string {value!r}, but must be a list. Write [{value!r}]."
    P036 = "There is no option {name!r}. Use one of: {known}"
    P037 = (
        "output_format = {output_format!r} chooses every token from the whole vocabulary, but "
        'softmax is {softmax!r}. Set softmax = "vocabulary" (in a config: in the component\'s '
        'model) or output_format = "parallel".'
    )
    P038 = (
        "The model was trained with output_format = {output_format!r}, which can be decoded in "
        "only one way, so there is nothing to compare. Use a checkpoint trained with output_format "
        '= "parallel".'
    )
    P039 = (
        'decode = "tags" needs text tags, but the model was not taught any, or its tokenizer gives '
        'no offsets. Train it with tag_text above 0, or set decode = "doubtful".'
    )
    P040 = (
        "Cannot read {path}: {error}. Save the pipeline or checkpoint again. If a newer version of "
        "this package wrote it, install that version."
    )
    P041 = (
        "{name} is not a complete checkpoint folder: {missing} is missing. Give the folder of a "
        "saved Hugging Face model and tokenizer. If saving was interrupted, save it again. "
        "`PaDeLLM.from_pretrained` needs `labels` if there is no padellm.json."
    )
    P042 = (
        "Cannot load {name}: {error}\nGive the folder of a saved Hugging Face causal language "
        "model with its tokenizer, or a hub id that you can access. If saving was interrupted, "
        "save it again."
    )
    P043 = "Torch has no floating-point type {dtype!r}. Use float32, bfloat16 or float16."
    P044 = (
        "The weights of {name} lack {count} of the model's parameters, so these would be random. "
        "The first is {first}. Give a folder whose weights fit its config.json and include a "
        "language modelling head."
    )
    P045 = (
        "Cannot move the model to {device!r}: {error}\nName a device that torch has, for example "
        "'cpu' or 'cuda:0'."
    )
    P046 = (
        "{model} is more than a language model: its config.json has a text_config. Give a "
        "checkpoint of the language model alone."
    )
    P047 = (
        "{name} is a spaCy pipeline, not a checkpoint folder. Load it with `spacy.load`, or give "
        "the checkpoint folder inside it: {inner}"
    )
    P048 = (
        "{name} is a {model}, whose position numbers don't start at 0. Use an encoder whose "
        "positions start at 0, like BERT."
    )
    P049 = (
        "Cannot average {first} and {name}: their settings (padellm.json), tokenizers or weight "
        "shapes differ. Average checkpoints that were trained from the same model, with the same "
        "labels."
    )
    P050 = (
        "Can't read {path} as an adapter's configuration: {error}. Save the adapter again with "
        "PEFT, or give the folder of a complete model."
    )
    P051 = (
        "{path} doesn't say which model the adapter belongs to. Set base_model_name_or_path in it "
        "to that model's folder or hub id."
    )
    P052 = (
        "{name} is an adapter of type {kind}, which puts virtual tokens before a text. This "
        "package can't use it. Use one that changes the model's layers, such as LoRA."
    )
    P053 = (
        "The adapter {name} was trained on {base}, which can't be found: {error}\nSet "
        "base_model_name_or_path in its adapter_config.json to that model's folder or hub id."
    )
    P054 = (
        "An adapter can't be saved together with a quantized model. In a pipeline, set "
        "save_weights = false, so that it reads both from their present folders. Or load the "
        "adapter without quantization, which merges it into the model, and save that."
    )
    P055 = (
        "{path} is not a GGUF file that can be loaded: {reason}. Give the path of a whole GGUF "
        "file of a causal language model, or a checkpoint folder."
    )
    P056 = (
        "{path} can't be loaded with `quantization`: its weights become floating point while they "
        "are loaded. Leave `quantization` out, or give the checkpoint folder of the original model."
    )
    P057 = (
        "The tokenizer of {path} can't be used: {reason}. Give the checkpoint folder of the "
        "original model."
    )
    P058 = (
        'Label vectors need softmax = "admissible". Set it, or leave label_vectors out: labels are '
        "rows of the output layer then."
    )
    P059 = (
        "Saving to {folder} was interrupted, and the checkpoint in its subfolder .saving can't "
        "take the place of the old one: {error}. Load it once where the folder can be written."
    )
    P060 = (
        "{name} is a Baichuan model that can't be run as a Llama: {reason}. Give Baichuan2-7B, "
        "Baichuan-7B or a model trained from one of them."
    )
    P061 = (
        "Reading {path} needs sentencepiece and protobuf: {error}. Install both with this "
        "package's extra: `pip install -e '.[sentencepiece]'`."
    )
    P062 = (
        "The weights of {name} contain {count} parameter(s) that a Baichuan model doesn't have. "
        "The first is {first}. Give a folder whose weights fit its config.json. Merge adapters "
        "before saving."
    )
    P063 = (
        "{path} can't be converted to a fast tokenizer: {reason}. Give the tokenizer.model that "
        "came with the model. It must be a SentencePiece model of type BPE."
    )
    P064 = (
        "The added token {token!r} of {name} gets the id {found} with this tokenizer.model, but "
        "the settings say {stated}. Give the tokenizer.model that the token was added to."
    )
    P065 = (
        "Both `device` ({device!r}) and `devices` ({devices}) are set. Set `device` for one "
        "device, or `devices` for several. Training uses the first of them."
    )
    P066 = (
        "Can't copy {model} to {device!r}: {reason}. Set one device (`device`) instead of several "
        "(`devices`)."
    )
    P067 = (
        "The decoder `replicas` and the option --devices go together: `replicas` runs a copy of "
        "the model on each device. Pass both or neither."
    )
    P068 = (
        "Both a device ({device}) and a device_map are set. Set only one: a device_map already "
        "says where each part of the model goes."
    )

    P070 = "The configuration has an unknown entry {key!r}. Remove it, or use one of: {possible}."
    P071 = "{key} is {value!r}, but must be {kind}. Correct it in the configuration."
    P072 = "{key} can't be set in the configuration: {instead}. Remove it."
    P073 = (
        "{key} needs texts to evaluate on, but `dev` is not set. Set `dev` to a corpus file, or "
        "remove {key}."
    )
    P074 = (
        "Quantized weights can't be trained. Train an adapter on them, with `padellm finetune` and "
        "`lora`, or load the weights without quantization."
    )
    P075 = "The configuration lacks the required entry {key!r}. Add it."
    P076 = "Can't read the configuration {path}: {error}. Pass the path of a valid YAML file."
    P077 = (
        "{path} already holds checkpoints of a training run. Pass --resume to continue it, set "
        "another `output`, or delete the folder."
    )
    P078 = (
        "There is nothing to learn: no training text is annotated for the labels ({labels}). Set "
        "`labels`, or check that the texts contain mentions of them."
    )
    P079 = (
        "{name} is an adapter, so no other adapter (lora) can be trained on it. Merge it into its "
        "model first, with PEFT's merge_and_unload or `padellm export {name} FOLDER`. Then set "
        "`checkpoint` to that folder."
    )
    P080 = (
        "The weights of {name} are stored quantized, so an adapter can't be merged into them. Set "
        "`save: adapter`, or train from the checkpoint before quantization."
    )
    P081 = (
        "{name} is a Baichuan model, which is trained as a Llama. An adapter for the Llama would "
        "not fit {name}. Set `save: merged`."
    )
    P082 = (
        "`save: adapter` needs an adapter, but `lora` is not set. Set `lora`, or remove `save` to "
        "train and save all weights."
    )
    P083 = "{key} is not valid in the configuration: {error}. Correct or remove it."
    P084 = (
        "The training in {path} was started with another configuration: {names} differ. Restore "
        "the old values, or start again with another `output`."
    )
    P085 = "There are no texts in {files}. Set `{key}` to files with annotated texts."
    P086 = "{key} is {value!r}, which is not an evaluation score. Use one of {names}."
    P087 = (
        "PEFT can't save an adapter (lora) with FSDP 1. Use FSDP 2: remove `version` from "
        "training.fsdp_config and unset the environment variable FSDP_VERSION."
    )
    P088 = (
        "{change!r} doesn't set an entry of the configuration. Write it as NAME=VALUE, with a "
        "value as in YAML, such as `--set training.max_steps=100`."
    )
    # Model servers
    P090 = (
        "The server {url} gave no usable answer in {seconds} seconds. The last failure: {error}\n"
        "Check that it runs and is not overloaded. `retry_for` says how long to try."
    )
    P091 = (
        "The server {url} refuses a request with status {status}: {text}\nCorrect `url`, "
        "`served_name` or the key, or start the server with what it asks for."
    )
    P092 = (
        "The server {url} answers without {missing}, which exact decoding needs. Use a server that "
        "has it, such as vLLM."
    )
    P093 = (
        "The environment variable {name} has no key for the model server, or one with characters "
        "that a key can't have. Set it, or remove `api_key_env` if the server needs none."
    )
    P094 = (
        "The server {url} doesn't serve {name!r}. It serves: {served}. Set `served_name` to one of "
        "these, or start the server with `--served-model-name {name}`."
    )
    P095 = (
        "{name!r} runs on the server {url}, so its weights are not here to be trained or saved. "
        "Train with `spacy_padellm.CausalLM.v1`, save that, and serve the result."
    )
    P096 = (
        "{name} can't be run exactly on a server: {reason}. Run it in this process "
        '(`spacy_padellm.CausalLM.v1`), or train it with prefix_attention = "causal", softmax = '
        '"vocabulary" and output_format = "parallel".'
    )
    P097 = "`{key}` is {value}, but must be above 0. Correct it in the component's model."
    P098 = (
        "{url!r} is not the address of a server. Write `url` with `http://` or `https://`, such as "
        "'http://localhost:8000'."
    )

    # Corpora: readers and converters (P1xx)
    P101 = "Can't read {path}: {reason}. Pass the path of a text file."
    P102 = (
        "{path}, line {line}: not UTF-8 text ({reason}). {remedy}. If it is a binary .spacy file, "
        "read it with spaCy's own spacy.Corpus.v1."
    )
    P103 = (
        "Can't tell the format of {path}. Its first line with content (line {line}) begins no JSON "
        "and no table with a header, and no column holds tags. Pass the format: one of {formats}."
    )
    P104 = "Unknown {option}: {value!r}. Pass one of {choices}."
    P105 = "{path} contains no texts. Check that it is the right file."
    P106 = (
        "{path}, line {line}: not valid JSON ({reason}). Correct the line or pass another format."
    )
    P107 = (
        "{path}, line {line}: {problem}. A line of the paper format is a JSON array of a text and "
        "its mentions: [text, [start, end, mention, label], ...]."
    )
    P108 = (
        "{path}, line {line}: the mention {mention!r} isn't at [{start}, {end}] of the text. The "
        "offsets were read as {convention!r}, which fits best, but {failing} of {total} mentions "
        "differ. Correct these offsets. The whole file must count in one of these ways: "
        "{conventions}."
    )
    P109 = (
        "Can't tell what the offsets in {path} count: {fitting} all fit its {total} mentions. Set "
        "`offsets` to the right one."
    )
    P110 = (
        "{path}, line {line}: the line has {found} column(s), but the token must be in column "
        "{token_column} and its tag in another, column {tag_column}. Correct the line or the "
        "column numbers. 0 is the first column, -1 the last."
    )
    P111 = (
        "{path}, line {line}: {tag!r} isn't a valid tag in {scheme}. A tag is O, or one of "
        "{prefixes} with a hyphen and a label. Correct the line, the tag column (now {tag_column}) "
        "or the scheme."
    )
    P112 = (
        "{path}, line {line}: the tag {tag!r} can't follow {previous!r} in the scheme {scheme!r}. "
        "Correct the line or pass the file's scheme. 'iob1' reads any mix of B- and I- tags."
    )
    P113 = (
        "{path} mixes tags of BIOES (E-, S-) with tags of BILOU (L-, U-), first on line {line} "
        "({tag!r}). Convert all tags to one scheme."
    )
    P114 = (
        "{path}: column {token_column} contains {what} instead of tokens. Pass the column with the "
        "words: --token-column (`token_column`), most likely {next_column}."
    )
    P115 = (
        "{path}, line {line}: an empty token has the tag {tag!r}. Correct the line: add the token, "
        "or tag it O."
    )
    P116 = (
        '{path}, line {line}: {problem}. A line of the jsonl format is an object {{"text": str, '
        '"tokens": [[start, end], ...], "mentions": [{{"start": int, "end": int, "label": str}}, '
        '...], "labels": [str, ...]}}. "labels" is optional.'
    )
    P117 = (
        "{path}, line {line}: a mention has the label {label!r}, but the text is annotated for "
        "other labels only ({labels}). Add the label to these, or map it to one of them."
    )
    P118 = (
        "{path}, line {line}: the file says which labels the text is annotated for ({stated}), but "
        "you passed others ({given}). To keep what the file says, pass none."
    )
    P119 = "There is an empty label in {option}. Give it a name."
    P120 = (
        "{path}, line {line}: the text contains {character!r}, half of a surrogate pair, which is "
        "not a valid character. Replace it."
    )
    P121 = (
        "The reader got no path (null). Set it in the config or on the command line, e.g. "
        "--paths.train ./train.conll."
    )
    P122 = (
        "Can't take the part {part!r} of a corpus of {count} texts. Write its start and end as "
        "fractions, e.g. 0:0.7 or 0.7:1. It must contain at least one text."
    )
    P123 = (
        "Can't read {path} as docs in spaCy's binary format: {error}. Pass a .spacy file. `padellm "
        "convert` makes one from other formats."
    )
    P124 = (
        "{path}, line {line}: the row has {found} columns, but those above have {width}. Correct "
        "the row. If a token has a space in it, separate the columns with tabs."
    )
    P125 = (
        "{path}, line {line}: {problem}. Correct it, or pass another format: --format (`format`)."
    )
    P126 = (
        "{path}, line {line}: the mention {mention} isn't at [{start}, {end}] of the text. The "
        "offsets were read as {unit}, which fits best. Correct them: the end is one past the last."
    )
    P127 = (
        "There's no text {text} beside {path}. brat keeps a text and its annotation side by side."
    )
    P128 = (
        "Can't tell which layer of {path} has the mentions. Its layers of spans are: {names}. "
        "Export only the layer of the mentions, or name it NamedEntity."
    )
    P129 = (
        "{path} looks like {kind}, which can't be read. {remedy}. If it is something else, name "
        "it: --format (`format`)."
    )
    P130 = (
        "{path} has no column of tokens or none of tags. It begins with {header}. Name the "
        "columns in its first row, for example token and tag."
    )

    P131 = (
        "{path} has {rows} rows, but no column that names their sentences, and no empty row "
        "between sentences. Name the column sentence_id, or add empty rows."
    )
    P132 = "{path}, line {line}: {problem}. {remedy}."
    P133 = (
        "{path} has several lists of training data: {names}. Keep only one of them in the file, "
        "and put each of the others in a file of its own."
    )
    P134 = (
        "{path} has {count} record(s), but none that can be used: {reason}. Pass the file of "
        "another export, or annotate these texts first."
    )
    P135 = (
        "No doc of {path} has entities, or spans in the group {spans_key!r}. Its span groups are: "
        "{groups}. Choose one: --spans-key (`spans_key`)."
    )
    P136 = (
        "{path}, line {line}: the tag {tag!r} has no label. Add one to all tags but O, for example "
        "with `sed -E 's/([[:space:]])([BIESLUM])$/\\1\\2-LABEL/' IN > OUT`, or pass the column "
        "that has labels: --tag-column (`tag_column`)."
    )
    P137 = (
        "{path} is a table with a text in each row, and not a token. Export it as JSON (Label "
        "Studio does), or write each row as a line of JSON, with `text` and `entities`, or with "
        "`tokens` and `ner_tags`."
    )
    P138 = (
        "{path}, line {line}: no format that is known has JSON objects with the fields {keys}. "
        "{remedy}."
    )
    P139 = (
        "{path} seems to be the text of an annotation by brat, and has no mentions itself. Pass "
        "the file beside it: {annotation}."
    )
    P150 = (
        "{path}, line {line}: this is not a line of label corpora: {error}. Each line is a JSON "
        "object with corpus, part, tokens and mentions, as in assets/labels/corpora.jsonl.xz."
    )
    P151 = (
        "Can't read the names of labels from {path}: {error}. It is a JSON object that gives each "
        'label its "names", a list, and its "description".'
    )
    P152 = (
        "There are no corpora called {unknown} to leave out. Those in the parts that are read: "
        "{known}."
    )
    P153 = "The reader of other texts (`others`) has none. Check its path, or set `share` to 1."
    P154 = (
        "{path} has no corpus to draw from in the parts {parts}. Correct `parts`, or leave out "
        "fewer corpora (`without`)."
    )

    # Component (P2xx)
    P201 = (
        "The component has no model. Set `model.name` to the folder or hub id of a causal language "
        'model: nlp.add_pipe("padellm_ner", config={"model": {"@architectures": '
        '"spacy_padellm.CausalLM.v1", "name": "path/to/checkpoint"}}). To train a model from '
        'scratch, use "spacy_padellm.SmallCausalLM.v1".'
    )
    P202 = (
        "The component's model has not been trained yet. Call `nlp.initialize()` and train it, "
        "load a trained pipeline with `spacy.load`, or use `spacy_padellm.CausalLM.v1` with a "
        "checkpoint."
    )
    P203 = (
        "`labels` is the string {labels}, but must be a list of labels or a dictionary of labels "
        "and their wording in the prompt. Write [{labels}]."
    )
    P212 = (
        "The labels {labels} are not all strings. Give a list of strings, or a dictionary of "
        "labels and their wordings."
    )
    P204 = (
        "The component {name!r} has no labels: the labels file, the config and the examples "
        "contain none. Set `labels`, or check that the examples have entities in `doc.ents` or "
        "`doc.spans[{spans_key!r}]`."
    )
    P205 = (
        "An example's predicted and reference texts differ ({predicted!r} and {reference!r}), so "
        "its entities can't be located. Create both docs from the same text."
    )
    P206 = (
        "Cannot split a training text into windows: {error}\nIf an earlier component sets what "
        "`get_spans` needs, add its name to `training.annotating_components`."
    )
    P207 = (
        "`augment` is {value!r}, which can't augment training texts. Set it to null or to "
        "spacy_padellm.swap_mentions.v1."
    )
    P208 = "A training text is too long. {error}\nIt begins: {text!r}"
    P209 = (
        "The trained weights exist only in this pipeline, and save_weights = false would lose "
        "them. Set save_weights = true in the component's model."
    )
    P210 = (
        "There is no preset {name!r}. Use one of {names}, or register a function that returns a "
        "Preset: @spacy.registry.misc({name!r})."
    )
    P211 = (
        "The bytes of a model hold the file {file!r}, which is outside its folder. They are "
        "damaged, or were made to write there. Load only bytes that `to_bytes` gave you."
    )

    # Command line and project (P3xx)
    P301 = "{purpose} needs {package}, which isn't installed. Run `pip install {package}`."
    P302 = (
        "Can't tell the output format from the name {path}. Use a name that ends in .spacy "
        "(spaCy's binary format) or .jsonl (JSON lines)."
    )
    P303 = "Can't read {option} {value!r}. Write it as {form}, e.g. {option} {example!r}."
    P304 = "{option} has the label {label!r} twice. Name each label once."
    P305 = "There's no project.yml in {path}. Pass the folder of the project."
    P306 = (
        "PADELLM_DATA is set to {path}, which isn't a folder. Set it to a folder, or unset it to "
        "download the assets."
    )
    P307 = (
        "The asset {dest} isn't in assets/, so it can't be copied from PADELLM_DATA. Correct dest "
        "in project.yml, or unset PADELLM_DATA to download the asset."
    )
    P308 = (
        "The folder in PADELLM_DATA lacks {path} for the asset {dest}. Put the file there, or "
        "unset PADELLM_DATA to download it."
    )
    P309 = (
        "{path} has the MD5 checksum {found}, but project.yml expects {checksum} for the asset "
        "{dest}. Replace the file with the right one."
    )
    P310 = (
        "These assets are missing or have the wrong checksum after the download: {dests} "
        "({reason}). Check the connection and run fetch again, or set PADELLM_DATA to a folder "
        "with the files."
    )
    P311 = "{path} must end in .html (a page) or .svg (a picture). Rename it."
    P312 = (
        "--threshold is {value!r}, but must be a number from 0 to 1, or one for each label: "
        "PER=0.8,LOC=0.6."
    )

    # Benchmark (P4xx)
    P401 = (
        "There's no corpus in {path}. Pass a corpus file, a folder with a test file (test.jsonl, "
        "test.conll, ...) or a folder of such folders."
    )
    P402 = "{path} has several test files: {names}. Pass the path of one of them."
    P403 = (
        "The benchmark can't read spaCy's binary format ({path}). Pass the corpus in another "
        "format: {formats}."
    )
    P404 = (
        "There's nothing to draw: no result has the latency of single texts. Measure a decoder "
        "that takes one text at a time, such as `tree`."
    )
    P405 = "There's no model shape {shape!r}. Pass one of {names}, or the path of a config.json."
    P406 = (
        "The tokenizer has {tokens} tokens, but the shape {shape} has a vocabulary of only {size}. "
        "Pass another tokenizer, or a config.json with a larger vocab_size."
    )
    P407 = "Can't read a model's configuration from {path}: {error}. Pass a model's config.json."
    P408 = (
        "There's no decoder {name!r}. Pass some of {names}. Add a threshold from 0 to 1 after a "
        "colon (tree:0.1), or a batch size after an @ (tree@16)."
    )
    P409 = (
        "Can't measure {name!r}: {kind} takes no {part}. These take a threshold: {thresholds}. "
        "These take a batch size: {batches}."
    )
    P410 = (
        "There's nothing to measure. Pass checkpoint folders, or --replay with --shape and "
        "--tokenizer."
    )
    P411 = "--replay runs a random model. Pass both {options}, and no checkpoint folders."
    P416 = "{options} only work with --replay; a checkpoint sets these itself. Leave them out."
    P417 = "Can't write {path}: {error}. Pass another path."
    P412 = (
        "The decoder {name} needs a checkpoint trained with output_format = {wanted!r}. Pass one, "
        "or leave the decoder out."
    )
    P413 = (
        "The checkpoints {first} and {second} were both trained with output_format = "
        "{output_format!r}. Measure them in separate runs."
    )
    P414 = (
        "The corpus {dataset} has none of the labels of {name} ({labels}). Pass another corpus or "
        "checkpoint."
    )
    P418 = (
        "There's no .spacy file in {path}. Give a .spacy file, or a folder of them, that exists. "
        "`padellm convert` makes such files."
    )
    P419 = (
        "Two corpora have the name {name!r}: {paths}. A corpus is named after its file, without "
        "the folder. Rename one file."
    )
    P420 = (
        "No text of {path} is left to evaluate: all are also in the --exclude corpora. Pass only "
        "the training corpora to --exclude."
    )
    P421 = (
        "{path} isn't a result of `padellm benchmark` or `padellm evaluate`: {error}. Pass a JSON "
        "file that one of them wrote with --output."
    )
    P422 = (
        "Two results are of the decoder {decoder} on the dataset {dataset}. Pass only one of them, "
        "or draw two charts."
    )
    P423 = (
        "{setting!r} is not a setting with a value. Write it as NAME=VALUE, such as decode=tags, "
        "with a comma before the next one."
    )
    P424 = (
        "Results of `padellm benchmark` and of `padellm evaluate` don't fit into one chart. Draw "
        "two charts."
    )
    P425 = (
        "A chart needs exactly one score of {name} on each corpus: {corpora}. Draw what one run of "
        "`padellm evaluate` wrote, on corpora that are annotated for entities."
    )
    P427 = (
        "The pipeline {name} has {count} `padellm_ner` components, but only one can be calibrated. "
        "Give a pipeline with one."
    )
    P428 = (
        "Can't store temperatures with {name}, as it is no folder of yours with a padellm.json in "
        "it. Give the folder of a trained pipeline or of a checkpoint, or only measure: --no-store "
        "without --threshold."
    )
    P429 = (
        "Can't store thresholds with {name}, as it is no folder of a trained pipeline, with a "
        "config in it. Set `threshold` where you add the component."
    )
    P430 = (
        "In {path} the pipeline found {count} entities that count, {right} of them right. To "
        "measure how often it is right takes {least}, with {least_right} right: annotate more "
        "texts, or check that the labels are the same."
    )
    P435 = (
        "No text of {path} is annotated, so what is right in it is unknown. Give texts with "
        "entities in `doc.ents` or `doc.spans[{spans_key!r}]`."
    )
    P436 = "Pictures are .png, .svg or .pdf files, but {path} is none. Pass such a path."
    P440 = (
        "{count} different annotated texts are too few to learn from: a part of them is left out "
        "in each round, to score it. Annotate at least {fewest}."
    )
    P441 = (
        "There is no label {others} in the examples, only {labels}. Correct the name in --wording."
    )
    P442 = (
        "The texts to rehearse on cannot be read from {path}: {error}. Pass a file in UTF-8 with "
        "a text on each line to --rehearse."
    )
    P443 = (
        "There is no entity in {path} to learn from. Annotate some. In a .spacy file they are "
        "in doc.ents or in doc.spans[{spans_key!r}]."
    )
    P444 = "Biases of text tags must be finite numbers, but they are {biases}."
    P445 = (
        "{first} and {second} are both called {wording!r}, so that the model cannot tell them "
        "apart. Give them different names with --wording."
    )
    P446 = (
        "The checkpoint has a label {label}, too, which it calls {own!r} and the examples "
        "{wording!r}. Rename the one in the examples, or leave out --keep."
    )
    P447 = (
        "{name} has no padellm.json, so it was never trained to find entities. Pass the folder of "
        "a checkpoint that was, or fine-tune it with `padellm finetune`."
    )
    P431 = "--precision and --recall are shares from 0 to 1, but {value} was given."
    P432 = "There is no target {target!r}. Pass one of {targets} to --threshold."
    P433 = (
        "--threshold stores thresholds for calibrated scores, and --no-store leaves the scores as "
        "they are. Leave out one of the two."
    )
    P434 = (
        "spaCy's config can't hold the labels of these thresholds: {labels}. Set `threshold` where "
        "you load the pipeline."
    )
    P426 = "The pipeline {name} can't be loaded with these settings. Correct this: {wrong}"
    P415 = "There's no corpus to measure on. Pass --datasets once for each file or folder."

    # Annotation of corpora (P5xx)
    P501 = "{path} has several datasets. Pass one of them: {names}."
    P502 = "There is no file {source}. Pass a file, a folder with files, or a glob in quotes."
    P503 = (
        "Can't tell from its name what kind of file {path} is. Its name must end in one of "
        "{suffixes}. If it doesn't belong to the texts, pass a glob that leaves it out."
    )
    P504 = "The files are of several kinds, e.g. {paths}. Pass a glob that finds files of one kind."
    P505 = "Can't read {path}: {error}. Replace the file, or leave it out."
    P506 = (
        "Line {line} of {path} has a carriage return in it. If its lines end with one and no line "
        "feed, convert it: `tr '\\r' '\\n' < OLD > NEW`. If not, remove it: `tr -d '\\r' < OLD > "
        "NEW`."
    )
    P507 = (
        "The records of {path} lack the field {field!r}. They have {names}. Pass the name of the "
        "one with the text to --text-field."
    )
    P508 = (
        "The records of {path} have a field {field!r}. Pass another name for the field with the "
        "entities to --entities-field."
    )
    P509 = (
        "Some fields can't be columns of Parquet, as their values differ in type: {error} "
        "({place}). Write JSON lines: --to jsonl."
    )
    P510 = (
        "{path} isn't a file of JSON lines. It begins with {begin!r}. Put each record, a JSON "
        "object, on a line of its own: `jq -c .` does this, or `jq -c '.[]'` for an array."
    )
    P511 = (
        "The processes that should find entities die before they begin (exit code {code}). Often "
        "they lack memory for the model: try fewer processes. In a script, start the work below "
        '`if __name__ == "__main__":`.'
    )
    P512 = (
        "{path} was begun with something else: {changed}. Pass another folder, or what the first "
        "line of its manifest.jsonl says."
    )
    P513 = "{path} has files but no manifest.jsonl. Pass a new or empty folder."
    P514 = "{path} is the folder of the texts. Pass another folder to write to."
    P515 = (
        "There is no pipeline {name!r}. Pass a folder that `nlp.to_disk` or `padellm finetune` "
        "wrote, or the name of an installed pipeline."
    )
    P516 = (
        "{shard}: the worker died twice while it annotated them. Run the same command again to try "
        "them once more, with fewer processes if memory was short."
    )
    P517 = "{option} is an option of the engine {engine}. Leave it out, or pass --engine {engine}."
    P518 = "{path} is a name of a file, but what is written is a folder of files. Pass a folder."
    P519 = "Another run writes to {path}. Wait until it ends, or pass another folder."
    P520 = "Can't use the Ray cluster: {error}. Check --address, and that the cluster runs."
    P521 = "The batch has a column {field!r} already. Pass another name to `{name}` of `Annotator`."
    P522 = (
        "The records that {path} becomes have a field {field!r} with their tokens. Pass another "
        "name for the field with the text to --text-field."
    )


class Warnings(metaclass=_WithCodes):
    # Core (W0xx)
    W060 = (
        "The fast tokenizer made from {path} differs from SentencePiece on {count} of {total} "
        "texts, e.g. on {text!r}. The model may find other mentions in such texts."
    )
    W070 = (
        "{total} of {gold} gold mentions can't be taught: {details}. Too many: raise "
        "`max_mentions`. Too long: raise `max_mention_tokens`. Across windows: make the windows of "
        "`get_spans` longer or let them overlap. Unaligned: use tokens (in a pipeline, a "
        "tokenizer) that start and end where the mentions do. Not annotated: add the label to "
        "those the text is annotated for. Partly annotated or crossing: use output_format = "
        '"parallel".'
    )
    W071 = (
        "{count} of {total} annotated texts (or windows) teach nothing. A text must be annotated "
        'for all of the labels ({labels}); with output_format = "parallel", one is enough. Leave '
        "these texts out, or add their labels to `labels`."
    )
    W072 = (
        "Some mentions are not taught, as their labels are not in `labels`: {counts}. Add these "
        "labels, or leave `labels` unset."
    )
    W073 = (
        "No training text has a mention of {labels}, so the model learns never to find them. "
        "Remove them from `labels` (in a pipeline's config, labels = [] drops a checkpoint's). If "
        "the texts are not annotated for them, say so (`convert --annotated-labels`)."
    )
    W074 = (
        "{count} texts need more than the {row_tokens} tokens of a row. The longest needs "
        "{longest}. Each gets a row of its own. Raise `row_tokens` if memory allows, or split the "
        "texts."
    )

    W075 = (
        "All weights are trained in {dtype}, which is too coarse: most updates are rounded away. "
        "Load the weights in float32 (`dtype`) and compute in bfloat16 (`mixed_precision`; in "
        "`padellm finetune`, `bf16`), or train an adapter (`lora`)."
    )
    W076 = (
        "The evaluation texts have no mention of the labels ({labels}), so mentions_f is always 0. "
        "Set `dev` to texts with mentions of these labels."
    )
    W090 = (
        "The text tags of {name} can't be read over a server. Entities are those that it writes. "
        "Set tag_share = 0.0 to confirm this."
    )
    W091 = (
        "There is too little memory to run {count} texts at once ({error}). They are run in "
        "halves, and one alone without oneDNN. Set `batch_tokens` lower to begin with less."
    )
    W093 = (
        "`threshold` names labels that are not among the model's: {others}. It has {labels}. "
        "Others count only where a text asks for them."
    )
    W092 = (
        "A text has {most} mentions of {label}, and no more can be written (`max_mentions`), so "
        "some may be missing. Read long texts in smaller windows: set `get_spans`."
    )

    # Corpora: readers and converters (W1xx)
    W101 = (
        "{count} gold entities in {path} don't match token boundaries, so the pipeline can neither "
        "learn nor find them, e.g. {examples}. Use a tokenizer that splits there."
    )
    W102 = (
        "{path} has {count} mention(s) in several pieces with other text between them: "
        "{examples}. From the first piece to the last, it stays unknown whether there are "
        "mentions, so none is taught or counted there. To use one, annotate it as one stretch."
    )

    # Component (W2xx)
    W202 = (
        "The saved pipeline was trained with other settings than the config has. These settings of "
        "the config are ignored: {ignored}. To add a label, use `add_label` and continue training. "
        "To change anything else, train a new pipeline."
    )
    W203 = (
        "Weights are updated by torch's AdamW, not by the optimizer in the config. In "
        "[training.optimizer] set {remedies}."
    )
    W206 = (
        "{name} was never trained to find {labels}, and goes by these names alone. The bundled "
        "model misses two thirds and more of such mentions: docs/explanation/new-labels.md has its "
        "scores. Learn the labels from ten annotated texts or more (`padellm learn`), or ask for "
        "wordings that it was trained on (`trained` in its padellm.json)."
    )
    W209 = (
        "{name} doesn't learn {labels}: these labels of the examples are not among its own. Call "
        "`add_label` for each before training, or `nlp.initialize()` with the examples."
    )
    W208 = (
        "The learning rate {rate} is far too high for a model that was trained before: a few steps "
        "ruin it. Set `optimizer.learn_rate = 3e-4` (1e-5 to 2e-5 for a large model)."
    )


def require(package: str, purpose: str, *, extra: str | None = None) -> None:
    """Check that a package is installed which only some uses need.

    Args:
        package: Name of the package.
        purpose: What needs it, as the start of a sentence.
        extra: The extra of this package that installs it.

    Raises:
        ImportError: It isn't installed.
    """
    if importlib.util.find_spec(package) is None:
        error = Errors.P301.format(purpose=purpose, package=package)
        if extra is not None:
            error += f" The extra {extra!r} has all of this kind: `pip install -e '.[{extra}]'`."
        raise ImportError(error)


def check_choice(name: str, value: object, values: Sequence[object]) -> None:
    """Check that a setting has one of its allowed values.

    Raises:
        ValueError: It has not.
    """
    if value not in values:
        raise ValueError(Errors.P031.format(name=name, value=value, values=tuple(values)))
