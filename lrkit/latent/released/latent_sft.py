"""The released weights of Latent-SFT (DJCheng/LLaMA3.2-1B-Instruct-Latent-SFT-Top10,
DJCheng/Qwen2.5-Math-7B-Latent-SFT-4k-Top10).

They follow DJC-GO-SOLO/Latent-SFT: `README.md` (which there are), `merge_lora.py` (LoRA
is merged), `eval/eval_latent_model_hf_batch.py` (how a model is loaded, the prompt of
Llama, k = 10), `eval/eval_high_tasks_sglang.py` (the prompt of Qwen),
`src/modeling/modeling_latent.py` (the loop). The files are those of a plain causal
LM: nothing is added to it, every name is its own, and the map is our "base." before it.
A folder with `adapter_config.json` (stage 2 trains LoRA) is read by PEFT's own loader
over its base.

The prompt is a chat with "Please reason step by step, and put your final answer within
\\boxed{}.", then "<think>". While the likeliest token is not the first one of
"</think>" (which is several tokens to Llama's tokenizer), the next input is the mixture
of the 10 likeliest; then all of "</think>" follows and the model writes text. The
answer is what stands in the last \\boxed{}.

Known differences to the authors' evaluation: it draws the text at temperature 0.6 and
nucleus 0.95, ours is greedy; it needs a row of its own for each question. As there, and
unlike in our training, the end of thinking may be part of a mixture.

Not found out: whether the published tokenizers have "<think>" as one token (both
lengths work), whether the Qwen chat template ends in "<think>" (it is then not added
again, as in the authors' second evaluator), and how the answers to GSM8K are cut out
(`eval_utils`, not read): numbers with units or dollar signs inside the box may count as
wrong here.
"""

from __future__ import annotations

from peft import (
    PeftConfig,
    PeftModel,
    load_peft_weights,
    set_peft_model_state_dict,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.latent_sft_student import LatentSFTStudent, LatentSFTStudentConfig
from lrkit.latent.released.checkpoint import Checkpoint
from lrkit.latent.released.key_map import KeyMap
from lrkit.latent.released.prompts import QUESTION, PromptRows, boxed
from lrkit.latent.released.release import Released
from lrkit.latent.released.strict import LoadReport, load_mapped
from lrkit.latent.released.tables import BUFFERS, NO_SLOT_ROW, base_map

SOURCE = "DJC-GO-SOLO/Latent-SFT, eval/eval_latent_model_hf_batch.py"
TASK = r"Please reason step by step, and put your final answer within \boxed{}."
LLAMA = (
    f"<|start_header_id|>user<|end_header_id|>\n\n{TASK}\n{QUESTION}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
THINK, END = "<think>", "</think>"


def template_of(tokenizer: PreTrainedTokenizerBase, model_type: str) -> str:
    """The text around a question, without "<think>".

    Raises:
        ValueError: for another model without a chat template.
    """
    if model_type == "llama":
        return LLAMA
    if not tokenizer.chat_template:
        raise ValueError(f"no prompt is known for {model_type!r} without a template.")
    chat = [
        {"role": "system", "content": TASK},
        {"role": "user", "content": QUESTION},
    ]
    text = tokenizer.apply_chat_template(
        chat, tokenize=False, add_generation_prompt=True
    )
    return text.rstrip().removesuffix(THINK) if text.rstrip().endswith(THINK) else text


def rows_of(
    tokenizer: PreTrainedTokenizerBase, model_type: str, context: int
) -> PromptRows:
    """The prompt's rows; `eot` is the first token of the end of thinking."""
    think, end = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (THINK, END)
    )
    return PromptRows(
        tokenizer, end[0], end[0], end[0], context,
        template=template_of(tokenizer, model_type), with_specials=True,
        last=tuple(think), behind=tuple(end[1:]),
    )  # fmt: skip


def key_map(model: LatentSFTStudent) -> KeyMap:
    """The names of a causal LM."""
    base = base_map(model, "")
    return KeyMap(SOURCE, base.rules, base.twins, BUFFERS, (NO_SLOT_ROW,))


def adapted(
    checkpoint: Checkpoint, base: PreTrainedModel, report: LoadReport
) -> PreTrainedModel:
    """A base under the adapter of a checkpoint, read by PEFT and then checked.

    Args:
        checkpoint: an adapter.
        base: filled.
        report: gets the count.

    Raises:
        ValueError: for an adapter that does not fit the base wholly.
    """
    config = PeftConfig.from_pretrained(str(checkpoint.folder))
    model = PeftModel(base, config)
    weights = load_peft_weights(str(checkpoint.folder), device="cpu")
    found = set_peft_model_state_dict(model, weights)
    missing = [name for name in found.missing_keys if "lora_" in name]
    if missing or found.unexpected_keys or not weights:
        wrong = [*missing, *found.unexpected_keys, "no tensor at all"]
        raise ValueError(
            f"the adapter in {checkpoint.folder} does not fit its base: "
            f"{len(missing)} of its weights are missing and "
            f"{len(found.unexpected_keys)} unknown ({wrong[0]})."
        )
    report.adapter = len(weights)
    return model


def release(
    checkpoint: Checkpoint,
    n_latents: int = 128,
    batch_size: int = 32,
    max_new_tokens: int = 128,
    k: int = 10,
) -> Released:
    """A Latent-SFT model with its solver.

    Args:
        checkpoint: opened.
        n_latents: at which a thought ends in any case.
        batch_size: questions at a time.
        max_new_tokens: longest text behind the thought.
        k: tokens of a mixture; 0: the whole vocabulary, as the authors' code does with
            an adapter.

    Raises:
        ValueError: for files of another model.
    """
    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    rows = rows_of(tokenizer, config.model_type, checkpoint.context())
    vocabulary = checkpoint.vocabulary("")
    base = checkpoint.empty_base(vocabulary)
    own = LatentSFTStudentConfig(base.config, end=rows.eot, k=k)
    own.map["excluded"] = None
    model = LatentSFTStudent(own, base)
    model.rows.weight.data.zero_()
    report = load_mapped(model, checkpoint.tensors, key_map(model))
    if checkpoint.is_adapter:
        model.base = adapted(checkpoint, base, report)
        model.map.bind(model.base)
    model.rows.to(checkpoint.dtype)
    model = checkpoint.ready(model, vocabulary)
    solver = SuperpositionSolver(
        model, ThoughtRows(rows, 1), n_latents, batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    return Released("latent_sft", solver, boxed, report)
