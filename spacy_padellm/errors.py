"""Every message the package raises, in spaCy's form: a code to search for, cause and remedy."""

from __future__ import annotations

import importlib.util


class _WithCodes(type):
    """Prefix each message with its code, as spaCy's `Errors` does."""

    def __getattribute__(cls, name: str) -> str:
        message: str = super().__getattribute__(name)
        return message if name.startswith("__") else f"[{name}] {message}"


class Errors(metaclass=_WithCodes):
    # Core: texts, template, tokenizer, model (P0xx)
    P001 = (
        "A template's prompt needs `{{text}}` and `{{label}}`, each exactly once, but it is: "
        "{prompt!r}"
    )
    P002 = (
        "A template's prompt needs `{{text}}` before `{{label}}`, so that labels share the text, "
        "but it is: {prompt!r}"
    )
    P003 = (
        "A template's mention opener needs `{{n}}` exactly once, with something behind it that is "
        "no digit, as in '<mention {{n}}>', but it is: {mention!r}"
    )
    P004 = (
        "A template's count_end has to end the number before it, but it is {count_end!r}. Set what "
        "follows a count, for example a line break."
    )
    P005 = (
        "There is no template named {name!r}. Use one of {names}, or give your own wording: "
        "`prompt`, `count_end` and `mention`."
    )
    P006 = "Not the fields of a template: {fields} ({error})."
    P007 = "The label {label!r} or its wording is empty. Give every label a name and a wording."
    P008 = (
        "The label {label!r} (wording {wording!r}) has a line break in it, which would take the "
        "prompt apart. Give it a wording of one line."
    )
    P010 = (
        "The tokenizer of {name} has no end token, so that mentions cannot end. Set one, for "
        "example with `tokenizer.add_special_tokens({{'eos_token': '</s>'}})`, resize the model's "
        "embeddings, and save both again."
    )
    P011 = (
        "The tokenizer turns ordinary text into special tokens whichever way it is split: "
        "{text!r}. Use a tokenizer whose special tokens are longer than one character."
    )
    P012 = (
        "Text tags need a tokenizer with one token for every label's wording and for every mention "
        "opener, but {name!r} has {count}. Train without tags (tag_text = 0), or add the tokens."
    )
    P013 = (
        "Text tags are read at a model's middle layer, and the layers of {model} can't be told "
        "from its other parts. Train without tags (tag_text = 0) or ignore them (tag_share = 0)."
    )
    P014 = (
        "An encoder can only be read as a decoder with a fast tokenizer, and that of {name!r} is "
        "not. Pass an encoder with a tokenizer.json."
    )
    P020 = (
        "A model loaded with attn_implementation={implementation!r} takes no attention mask, and "
        "a token tree needs one. Load it with attn_implementation='sdpa' or 'eager'."
    )
    P021 = (
        "{model} takes no custom attention mask, so its text cannot attend in both directions. "
        "Set prefix_attention='causal'."
    )
    P023 = (
        "A text's sequences may take {depth} tokens, but the model has {positions} positions. "
        "Shorten the windows of `get_spans`, or set it to null to have them made as they fit; "
        "without a pipeline, split the text. A lower `max_mention_tokens` helps, too."
    )
    P024 = (
        "A text's sequences may take {depth} tokens, but the model's attention has a window of "
        "{window}, and a bidirectional prefix has to fit into it. Set the component's "
        "`get_spans` to read the text in windows, or shorten them; without a pipeline, split it."
    )
    P025 = (
        "{model} keeps no KV cache under this version of transformers, so it cannot be run as the "
        "paper's padded batch. Use transformers 5, or compare with way 'sequences'."
    )
    P030 = "{name} is {value}, but is a probability, from 0 to 1."
    P031 = "{name} is {value!r}, but has to be one of {values}."
    P032 = "{name} is {value}, but has to be at least 1."
    P033 = (
        "There are no labels to look for. Set `labels` in the component's config, call "
        "`nlp.initialize()` with annotated examples, or use a checkpoint whose padellm.json "
        "names its labels."
    )
    P034 = "tag_text is {value}, but is a weight: 0 for none, or more."
    P035 = "{name} is the string {value!r}, but has to be a list of them: [{value!r}]."
    P036 = "There is no option {name!r}; there are: {known}"
    P037 = (
        "With output_format = {output_format!r} every token is chosen from the whole vocabulary, "
        'but softmax is {softmax!r}. Set softmax = "vocabulary" (in a config, that of the '
        'component\'s model) or output_format = "parallel".'
    )
    P038 = (
        "The model was trained with output_format = {output_format!r}, which is decoded in one way "
        'only. What is compared are ways to decode output_format = "parallel": give a checkpoint '
        "trained with it."
    )
    P040 = (
        "Cannot read {path}: {error}. Write it again by saving the pipeline or checkpoint, or "
        "delete it to use the model with settings of your own."
    )
    P041 = (
        "{name} is no complete checkpoint folder: {missing} is missing. Give the folder of a "
        "saved Hugging Face model and tokenizer, or save it again if saving was interrupted."
    )
    P042 = (
        "Cannot load {name}: {error}\nGive the folder of a saved Hugging Face causal language "
        "model with its tokenizer, or a hub id that can be reached; save it again if saving was "
        "interrupted."
    )
    P043 = "There is no floating point type {dtype!r} in torch. Use float32, bfloat16 or float16."
    P044 = (
        "The weights of {name} lack {count} of the model's parameters, the first of them {first}: "
        "they would be random. Give a folder whose weights fit its config.json, saved with a "
        "language modelling head."
    )
    P045 = (
        "The model cannot be moved to {device!r}: {error}\nName a device that torch has, for "
        "example 'cpu' or 'cuda:0'."
    )
    P046 = (
        "{model} is more than a language model (its config.json has a text_config). Give a "
        "checkpoint of its language model alone."
    )
    P047 = (
        "{name} is a spaCy pipeline, not a checkpoint folder. Load it with `spacy.load`, or give "
        "the checkpoint folder in it: {inner}"
    )
    P048 = (
        "{name} is a {model}, whose positions begin behind that of its padding. Use an encoder "
        "that counts them from 0, like BERT."
    )
    P049 = (
        "{first} and {name} can't be averaged: their settings (padellm.json), tokenizers or "
        "weights' shapes differ. Average checkpoints that were trained from the same one, with the "
        "same labels."
    )
    P050 = (
        "Can't read {path} as an adapter's configuration: {error}. Save the adapter again with "
        "PEFT, or give the folder of a whole model."
    )
    P051 = (
        "{path} doesn't say which model the adapter belongs to. Set base_model_name_or_path in it "
        "to that model's folder or hub id."
    )
    P052 = (
        "{name} is an adapter of the kind {kind}, which puts virtual tokens before a text. Give "
        "one that changes a model's layers, such as LoRA."
    )
    P053 = (
        "The adapter {name} belongs to {base}, which can't be found: {error}\nSet "
        "base_model_name_or_path in its adapter_config.json to that model's folder or hub id."
    )
    P054 = (
        "An adapter beside quantized weights can't be saved with them. In a pipeline set "
        "save_weights = false, so that both are read from where they are; or load the adapter "
        "without quantization, which merges it into the whole weights, and save that."
    )
    P060 = (
        "{name} is a Baichuan model that can't be run as a Llama: {reason}. Give Baichuan2-7B, "
        "Baichuan-7B or a model trained from one of them."
    )
    P061 = (
        "Reading {path} needs sentencepiece and protobuf: {error}. Install this package's extra "
        "for it: `pip install -e '.[sentencepiece]'`."
    )
    P062 = (
        "The weights of {name} hold {count} that a Baichuan model has no place for, the first of "
        "them {first}. Give a folder whose weights fit its config.json; merge adapters before "
        "saving."
    )
    P063 = (
        "{path} can't be made a fast tokenizer with the same ids: {reason}. Give the "
        "tokenizer.model that came with the model, a SentencePiece model of the type BPE."
    )
    P064 = (
        "The added token {token!r} of {name} has the id {found} behind its tokenizer.model, but "
        "{stated} in its settings. Give the tokenizer.model that it was added to."
    )
    P065 = (
        "Both one device ({device!r}) and several ({devices}) are named. Name one, as `device`, or "
        "several, as `devices`, of which the first is the one to train on."
    )
    P066 = (
        "{model} can't be copied to {device!r}: {reason}. Name one device, as `device`, instead of "
        "several (`devices`)."
    )
    P067 = (
        "The decoder `replicas` and the option --devices need each other: there is a copy of the "
        "model on each device. Pass both or neither."
    )
    P068 = (
        "Both a device ({device}) and a device_map are named. Name one of them: a device_map says "
        "where each part of a model goes."
    )

    P070 = (
        "The configuration has an entry {key!r}, which there is not. Remove it, or write one of: "
        "{possible}."
    )
    P071 = "{key} is {value!r} in the configuration, but has to be {kind}. Correct the value."
    P072 = "{key} can't be set in the configuration: {instead}. Remove it."
    P073 = (
        "{key} needs texts to evaluate on, and the configuration names none. Set `dev` to a corpus "
        "file, or remove it."
    )
    P074 = (
        "Quantized weights can't be trained themselves. Train an adapter beside them, with "
        "`padellm finetune` and its entry `lora`, or load the weights without quantization."
    )
    P075 = "The configuration has no {key!r}. Set it."
    P076 = "Can't read the configuration {path}: {error}. Pass the path of a YAML file."
    P077 = (
        "{path} already holds checkpoints of a training. Pass --resume to go on with it, name "
        "another `output`, or delete the folder."
    )
    P078 = (
        "The training texts teach nothing: none is annotated for one of the labels ({labels}). Set "
        "`labels`, or check that the texts have mentions of them."
    )
    P079 = (
        "{name} is an adapter, and another one (lora) can't be trained on top of it. Merge it "
        "first, with PEFT's merge_and_unload or `padellm export {name} FOLDER`, and name that "
        "folder as `checkpoint`."
    )
    P080 = (
        "The weights of {name} were saved quantized: there are no whole ones to merge an adapter "
        "into. Set `save: adapter`, or train from the checkpoint that was quantized."
    )
    P081 = (
        "{name} is a Baichuan model, which is trained as a Llama: an adapter alone would fit the "
        "Llama, not {name}. Set `save: merged`."
    )
    P082 = (
        "`save: adapter` needs an adapter to be trained. Set `lora`, or remove `save` to train and "
        "save all weights."
    )
    P083 = "The entries of {key} can't be taken as they are: {error}. Correct or remove them."
    P084 = (
        "The training in {path} was begun with another configuration: {names} differ. Go on with "
        "what it was begun with, or begin anew with another `output`."
    )
    P085 = "There are no texts in {files}. Name files with annotated texts as `{key}`."
    P086 = "{key} is {value!r}, which is no score of an evaluation. Use one of {names}."
    P087 = (
        "PEFT can't save an adapter (lora) from the shards of FSDP 1. Use FSDP 2: remove `version` "
        "from training.fsdp_config, and FSDP_VERSION from the environment."
    )

    # Corpora: readers and converters (P1xx)
    P101 = "Can't read {path}: {reason}. Pass the path of a text file."
    P102 = (
        "{path}, line {line}: not UTF-8 text ({reason}). Save the file as UTF-8; a binary .spacy "
        "file is read with spaCy's own spacy.Corpus.v1."
    )
    P103 = (
        "Can't tell the format of {path} from its first line with content (line {line}): it's "
        "neither a JSON array (paper), nor a JSON object (jsonl), nor columns of which one holds "
        "tags (conll). Pass the format: one of {formats}."
    )
    P104 = "Unknown {option}: {value!r}. Pass one of {choices}."
    P105 = "{path} holds no texts. Check that it's the file you meant."
    P106 = (
        "{path}, line {line}: not valid JSON ({reason}). Correct the line or pass another format."
    )
    P107 = (
        "{path}, line {line}: {problem}. A line of the paper format is a JSON array of a text and "
        "its mentions: [text, [start, end, mention, label], ...]."
    )
    P108 = (
        "{path}, line {line}: the mention {mention!r} isn't at [{start}, {end}] of the text when "
        "its offsets are read as {convention!r}, the reading that fits best: {failing} of "
        "{total} mentions differ. Correct the offsets of those lines; the file must count in one "
        "of these ways throughout: {conventions}."
    )
    P109 = (
        "Can't tell how the offsets in {path} count: {fitting} all fit its {total} mentions. Pass "
        "the one that's meant as offsets."
    )
    P110 = (
        "{path}, line {line}: {found} column(s), too few for the token in column {token_column} "
        "and its tag in column {tag_column}. Correct the line or the column numbers, which count "
        "from 0, or from -1 at the end of the line."
    )
    P111 = (
        "{path}, line {line}: {tag!r} isn't a tag of {scheme}. Tags are O or one of "
        "{prefixes}, a hyphen and a label. Correct the line, the tag column (now {tag_column}) or "
        "the scheme."
    )
    P112 = (
        "{path}, line {line}: the tag {tag!r} can't follow {previous!r} in the scheme {scheme!r}. "
        "Correct the line or pass the scheme the file is in; 'iob1' reads any mix of B- and I- "
        "tags."
    )
    P113 = (
        "{path} mixes tags of BIOES (E-, S-) with tags of BILOU (L-, U-), first on line {line} "
        "({tag!r}). Bring the file to one scheme."
    )
    P114 = (
        "{path}: column {token_column} numbers the tokens of each sentence instead of holding "
        "them. Pass the column with the words as token column, most likely {next_column}."
    )
    P115 = (
        "{path}, line {line}: an empty token has the tag {tag!r}. Correct the line; an entity "
        "can't hold an empty token."
    )
    P116 = (
        '{path}, line {line}: {problem}. A line of the jsonl format is an object {{"text": str, '
        '"tokens": [[start, end], ...], "mentions": [{{"start": int, "end": int, "label": str}}, '
        '...], "labels": [str, ...]}}; labels may be left out.'
    )
    P117 = (
        "{path}, line {line}: a mention has the label {label!r}, which isn't among the labels the "
        "text is annotated for ({labels}). Add the label there or map it to one of them."
    )
    P118 = (
        "{path}, line {line}: the text states that it's annotated for {stated}, while {given} was "
        "passed. Leave the annotated labels out to keep what the file states."
    )
    P119 = "A label is empty in {option}. Name a label on both sides."
    P120 = (
        "{path}, line {line}: the text holds {character!r}, half of a surrogate pair, which no "
        "file or tokenizer can hold. Replace the character."
    )
    P121 = (
        "The reader got no path (null). Set it in the config or on the command line, e.g. "
        "--paths.train ./train.conll."
    )
    P122 = (
        "The part {part!r} isn't one of a corpus of {count} texts. Write where it starts and where "
        "it ends, as fractions, e.g. 0:0.7 or 0.7:1, with a text between them."
    )
    P123 = (
        "Can't read {path} as docs in spaCy's binary format: {error}. Pass a .spacy file; "
        "`convert` makes one of other formats."
    )

    # Component (P2xx)
    P201 = (
        "The component has no model. Set `model.name` to the folder or hub id of a causal "
        'language model: nlp.add_pipe("padellm_ner", config={"model": {"@architectures": '
        '"spacy_padellm.CausalLM.v1", "name": "path/to/checkpoint"}}), or use '
        '"spacy_padellm.SmallCausalLM.v1" to train one from scratch.'
    )
    P202 = (
        "The component's model has not been trained: its architecture makes it in "
        "`nlp.initialize()`. Call `nlp.initialize()` and train it, load a trained pipeline with "
        "`spacy.load`, or use `spacy_padellm.CausalLM.v1` with a checkpoint."
    )
    P203 = (
        "The labels {labels} are to be a list of labels or a dictionary of labels and their "
        "wording in the prompt."
    )
    P204 = (
        "Neither the labels file, the config nor the examples name a label for {name!r}. Set "
        "`labels`, or check that the examples have entities in `doc.ents` or "
        "`doc.spans[{spans_key!r}]`."
    )
    P205 = (
        "An example's predicted and reference text differ ({predicted!r} and {reference!r}), so "
        "that its entities' places are unknown. Create examples from the same text."
    )
    P206 = (
        "Cannot make the windows of a training text: {error}\nIf a component before this one sets "
        "what `get_spans` needs, name it in `training.annotating_components`."
    )
    P207 = (
        "`augment` is {value!r}, which augments no training texts. Set it to null or to "
        "spacy_padellm.swap_mentions.v1."
    )
    P208 = "A training text is too long. {error}\nIt begins: {text!r}"
    P209 = (
        "The model was trained, so its weights are nowhere but in this pipeline, and they are not "
        "to be saved (save_weights = false): they would be lost. Set save_weights = true in the "
        "component's model."
    )
    P210 = (
        "There's no preset {name!r}. Use one of {names}, or register a function that returns a "
        "Preset: @spacy.registry.misc({name!r})."
    )
    P211 = (
        "The bytes of a model hold the file {file!r}, which is outside its folder. They are "
        "damaged, or were made to write there. Load only bytes that `to_bytes` gave you."
    )

    # Command line and project (P3xx)
    P301 = "{purpose} needs {package}, which isn't installed. Run `pip install {package}`."
    P302 = (
        "Can't tell what to write to {path}. Name a file that ends in .spacy (spaCy's binary "
        "format) or .jsonl (JSON lines)."
    )
    P303 = "Can't read --map {value!r}. Write it as OLD=NEW, e.g. --map person=PER."
    P304 = "--map names the label {label!r} twice. Map each label once."
    P305 = "There's no project.yml in {path}. Pass the folder of the project."
    P306 = (
        "PADELLM_DATA names {path}, which isn't a folder. Set it to a folder or unset it to "
        "download."
    )
    P307 = (
        "The asset {dest} isn't below assets/, so PADELLM_DATA can't hold it. Correct dest in "
        "project.yml or unset PADELLM_DATA to download."
    )
    P308 = (
        "PADELLM_DATA lacks {path}, wanted for the asset {dest}. Put the file there or unset "
        "PADELLM_DATA to download."
    )
    P309 = (
        "{path} has the MD5 checksum {found}, while project.yml states {checksum} for the asset "
        "{dest}. Replace the file with the one that project.yml names."
    )
    P310 = (
        "Not all assets could be downloaded: {dests} missing or with another checksum than "
        "project.yml states ({reason}). Check the connection and run fetch again, or set "
        "PADELLM_DATA to a folder with the files."
    )
    P311 = "{path} ends in neither .html, for a page, nor .svg, for a picture. Rename it."

    # Benchmark (P4xx)
    P401 = (
        "There's no corpus in {path}. Pass a corpus file, a folder with a test file (test.jsonl, "
        "test.conll, ...) or a folder of such folders."
    )
    P402 = "{path} has several test files: {names}. Pass the one that's meant."
    P403 = (
        "{path} is in spaCy's binary format, which isn't read here. Pass the corpus in another "
        "format: {formats}."
    )
    P404 = "There's nothing to draw: no decoder was measured. Pass rows with a latency."
    P405 = "There's no model shape {shape!r}. Pass one of {names}, or the path of a config.json."
    P406 = (
        "The tokenizer has {tokens} tokens, but a model of the shape {shape} knows only {size}. "
        "Pass another tokenizer, or a config.json with a larger vocab_size."
    )
    P407 = "Can't read a model's configuration from {path}: {error}. Pass a model's config.json."
    P408 = (
        "{name!r} can't be read as a decoder. Pass some of {names}; a threshold, from 0 to 1, "
        "follows a colon (tree:0.1) and a batch size an @ (tree@16)."
    )
    P409 = (
        "{name!r} can't be measured: {kind} takes no {part}. Thresholds are for {thresholds}; "
        "batch sizes are for {batches}."
    )
    P410 = (
        "Nothing says what is to be measured. Pass checkpoint folders, or --replay with --shape "
        "and --tokenizer."
    )
    P411 = "With --replay the model is random: pass both {options}, and no checkpoint folders."
    P416 = "{options} are for --replay only: a checkpoint has its own. Leave them out."
    P417 = "Can't write {path}: {error}. Pass another path."
    P412 = (
        "The decoder {name} needs a checkpoint trained with output_format = {wanted!r}, and none "
        "of those given is. Pass one, or leave the decoder out."
    )
    P413 = (
        "The checkpoints {first} and {second} were both trained with output_format = "
        "{output_format!r}. Measure one of them at a time."
    )
    P414 = (
        "The corpus {dataset} has none of the labels that {name} knows ({labels}). Pass another "
        "corpus or checkpoint."
    )
    P418 = (
        "There's no .spacy file to evaluate on in {path}. Pass --corpora, once for each file or "
        "folder; `convert` makes such files."
    )
    P419 = (
        "Two corpora are called {name!r}: {paths}. Files are called by their names without the "
        "folder: rename one."
    )
    P420 = (
        "Each text of {path} is left out, as it is also in the corpora of --exclude. Pass others "
        "there: those that were trained on."
    )
    P415 = "There's no corpus to measure on. Pass --datasets, once for each file or folder."


class Warnings(metaclass=_WithCodes):
    # Core (W0xx)
    W060 = (
        "The fast tokenizer made of {path} gives other ids than SentencePiece on {count} of "
        "{total} texts, e.g. on {text!r}: what the model finds there may differ."
    )
    W070 = (
        "{total} of {gold} gold mentions can't be taught: {details}. Raise `max_mentions` or "
        "`max_mention_tokens`, make the windows of `get_spans` overlap or longer, give the texts "
        "tokens (in a pipeline, a tokenizer) that start and end where the mentions do, or name "
        "their labels among those the text is annotated for. With all mentions in one sequence, "
        'partly annotated texts can\'t be taught at all, and crossing mentions in "structured" '
        'only: use output_format = "parallel".'
    )
    W071 = (
        "{count} of {total} annotated texts (windows, where there are any) teach nothing: with "
        'output_format = "parallel" a text has to be annotated for one of the labels at least, '
        "with all mentions in one sequence for all of them ({labels}). Leave the texts out, or add "
        "their labels to `labels`."
    )
    W072 = (
        "Mentions of labels that are not taught: {counts}. Add the labels to `labels`, or leave it "
        "out, to have them taught."
    )
    W073 = (
        "No training text has a mention of {labels}, so training teaches that there are none. "
        "Leave them out of `labels` (in a pipeline's config, labels = [] drops a checkpoint's); if "
        "the texts are not annotated for them, say so (`convert --annotated-labels`)."
    )
    W074 = (
        "{count} texts take more than the {row_tokens} tokens of a row, the longest {longest}: "
        "each has a row to itself. Raise `row_tokens` if memory allows; if it does not, cut the "
        "texts."
    )

    W075 = (
        "All weights are trained, and they are {dtype}: most steps are smaller than what such "
        "numbers can tell apart, and are lost. Load them in float32 (`dtype`) and compute in "
        "bfloat16 (`mixed_precision`; in `padellm finetune` `bf16`), or train an adapter (`lora`)."
    )
    W076 = (
        "The texts to evaluate on have no mention of the labels ({labels}), so mentions_f is 0 "
        "whatever is learnt. Give `dev` annotated texts with these labels."
    )

    # Corpora: readers and converters (W1xx)
    W101 = (
        "{count} gold entities in {path} don't sit on token boundaries, so the pipeline can "
        "neither learn nor find them, e.g. {examples}. Use a tokenizer that splits there."
    )

    # Component (W2xx)
    W202 = (
        "The saved pipeline was trained with other settings than its config now states, and keeps "
        "its own: {ignored}. To add a label, use `add_label` and train on; to change anything "
        "else, train again."
    )
    W203 = (
        "Weights are stepped by a torch AdamW, whatever the optimizer of the config asks for. In "
        "[training.optimizer] set {remedies}."
    )
    W204 = (
        "Texts are trained on without tags (tag_text): {name!r} is more than one token, for labels "
        "that of their wording. Give the label a wording of one common word, for example with "
        "[components.padellm_ner.labels] in the config, or set tag_text = 0."
    )
    W206 = (
        "{name} was never trained to find {labels}: what it finds of them means little. Train it "
        "on texts with these labels, or look for labels it knows (`labels` in its padellm.json)."
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
