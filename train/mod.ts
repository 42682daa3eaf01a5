/**
 * Training: configurations, data, optimizer steps of both stages, checkpoints, and what the commands do with them.
 *
 * The only layer that knows files, clock and console. {@linkcode TokenizerLearner} and {@linkcode TransformerLearner} are one
 * optimizer step each and touch none of these; {@linkcode TokenizerTrainer} and {@linkcode TransformerTrainer} add data, schedules
 * and checkpoints; {@linkcode runLoop} drives a trainer.
 *
 * @module
 */

export { estimateTime, type StepWork, type TimeEstimate } from "./calibrate.ts";
export * from "./checkpoint.ts";
export * from "./checkpoint_keeper.ts";
export * from "./compile_ahead.ts";
export * from "./config/mod.ts";
export * from "./data/dataset.ts";
export * from "./data/folder.ts";
export * from "./data/image_files.ts";
export * from "./data/image_list.ts";
export * from "./data/index_cache.ts";
export * from "./data/loader.ts";
export * from "./data/open.ts";
export * from "./data/openmoji.ts";
export * from "./data/prepare.ts";
export * from "./data_module.ts";
export * from "./drawing.ts";
export * from "./errors.ts";
export * from "./files/npy.ts";
export * from "./files/npz.ts";
export { openTensors, tensorFiles } from "./files/open_tensors.ts";
export * from "./files/safetensors.ts";
export * from "./files/tensor_file.ts";
export * from "./image/codec.ts";
export * from "./image/libjpeg.ts";
export * from "./image/resize.ts";
export * from "./image/sheet.ts";
export * from "./learner.ts";
export * from "./load_report.ts";
export * from "./log.ts";
export * from "./loop.ts";
export * from "./loss_scaling.ts";
export * from "./measures.ts";
export * from "./model_sources.ts";
export * from "./open_gpu.ts";
export * from "./open_models.ts";
export * from "./plan.ts";
export * from "./profile_report.ts";
export * from "./profile_session.ts";
export * from "./progress.ts";
export * from "./run_folder.ts";
export * from "./schedule.ts";
export * from "./stages.ts";
export * from "./startup.ts";
export * from "./step_clock.ts";
export * from "./token_store.ts";
export * from "./tokenize.ts";
export * from "./tokenizer_learner.ts";
export * from "./tokenizer_losses.ts";
export * from "./tokenizer_trainer.ts";
export * from "./tokens.ts";
export * from "./training_step.ts";
export * from "./transformer_learner.ts";
export * from "./transformer_trainer.ts";
export * from "./views.ts";
