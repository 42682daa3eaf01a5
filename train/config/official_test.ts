/** Tests of the reference's ten published configurations, and of the presets that equal them. @module */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../errors.ts";
import {
  asTokenizer,
  asTransformer,
  checkpointRetention,
  completeTransformer,
  gradientClip,
  loadConfig,
  saveInterval,
  totalSteps,
  validationInterval,
} from "./mod.ts";

const FOLDER = "tests/golden/official-configs";
const TOKENIZERS = [1024, 8192, 16384, 262144];
const TRANSFORMERS = ["B", "L", "XL", "XXL"];
/** Published file and the preset that equals it. */
const PRESETS: readonly (readonly [string, string])[] = [
  ...TOKENIZERS.map((codes) => [`imagenet_ibqgan_${codes}`, `ibq_tokenizer_${codes}`] as const),
  ...TRANSFORMERS.map((size) =>
    [`imagenet_conditional_llama_${size}`, `ibq_transformer_${size}`] as const
  ),
];
const PRETRAINED = TOKENIZERS.slice(2).map((codes) => `pretrain_ibqgan_${codes}`);

const ignore = (await Deno.permissions.query({ name: "read" })).state !== "granted";
const official = (name: string, ...overrides: string[]) =>
  loadConfig({ file: `${FOLDER}/${name}.yaml`, overrides });

Deno.test({
  name: "the ten published configurations load unchanged and name what has no meaning here once",
  ignore,
  async fn() {
    const names = [...PRESETS.map(([name]) => name), ...PRETRAINED];
    assertEquals(names.length, 10);
    for (const name of names) {
      const { file, warnings } = await official(name);
      const about = [
        `Ignored options of ${file} without a meaning here: trainer.accelerator, trainer.strategy, ` +
        "trainer.devices, trainer.num_nodes, trainer.num_sanity_val_steps, trainer.logger, " +
        "trainer.callbacks[0].init_args.dirpath",
        ...(name === "imagenet_ibqgan_8192"
          ? [
            `No bfloat16, which ${file} asks for as trainer.precision: WebGPU lacks it; f32 is taken (f16 needs half the bytes)`,
          ]
          : []),
        "No use of data.test: a run is measured on its validation images",
      ];
      assertEquals(warnings, about, name);
    }
  },
});

Deno.test({
  name: "each preset equals its published configuration, without a warning about options",
  ignore,
  async fn() {
    for (const [name, preset] of PRESETS) {
      const expected = await official(name);
      const found = await loadConfig({ file: `configs/${preset}.yaml` });
      assertEquals(found.config, expected.config, preset);
      assertEquals(found.toYaml(), expected.toYaml(), preset);
      assertEquals(found.warnings, [
        "No use of data.test: a run is measured on its validation images",
      ]);
    }
  },
});

Deno.test({
  name: "published tokenizers: what their options come to",
  ignore,
  async fn() {
    for (const codes of TOKENIZERS) {
      const { config } = asTokenizer(await official(`imagenet_ibqgan_${codes}`));
      const { params } = config.model;
      assertEquals([params.nEmbed, params.embedDim, params.useEma, params.beta], [
        codes,
        256,
        true,
        0.25,
      ]);
      assertEquals(params.lrDropEpoch, codes === 8192 ? [250] : [250, 300]);
      assertEquals(params.resumeLr, null);
      const { trainer } = config;
      assertEquals(trainer.precision, codes === 8192 ? "f32" : "f16");
      // Of an epoch of 5,004 steps.
      assertEquals(totalSteps(trainer, 5004), (codes === 8192 ? 280 : 330) * 5004);
      assertEquals([saveInterval(trainer, 5004), validationInterval(trainer, 5004)], [5004, 5004]);
      assertEquals(checkpointRetention(trainer), {
        best: Infinity,
        monitor: { split: "train", metric: "perceptual_loss", mode: "min" },
      });
      const { train, validation, batchSize, numWorkers } = config.data.params;
      assertEquals([batchSize, numWorkers], [4, 16]);
      assert(train.target === "tessera.data.ImageNetTrain");
      assertEquals([train.params.config.size, train.params.config.randomCrop], [256, true]);
      assert(validation?.target === "tessera.data.ImageNetValidation");
      assertEquals([validation.params.config.subset, validation.params.config.randomCrop], [
        null,
        false,
      ]);
    }
  },
});

Deno.test({
  name: "published pre-training: schedules, intervals and shards by steps",
  ignore,
  async fn() {
    for (const name of PRETRAINED) {
      const { config } = asTokenizer(await official(name));
      const { trainer, model: { params } } = config;
      // Whatever the length of an epoch of shards.
      assertEquals(totalSteps(trainer, 1e6), 1_500_000);
      assertEquals([validationInterval(trainer, 1e6), saveInterval(trainer, 1e6)], [5005, 5005]);
      assertEquals(trainer.logEveryNSteps, 100);
      assertEquals(checkpointRetention(trainer), { best: Infinity, monitor: null });
      const { scheType, wp, wp0, wpe, maxIter, wpIter, lrDropIter } = params;
      assertEquals({ scheType, wp, wp0, wpe, maxIter, wpIter, lrDropIter }, {
        scheType: null,
        wp: 1,
        wp0: 0,
        wpe: 0.01,
        maxIter: 1_500_000,
        wpIter: 5000,
        lrDropIter: [50, 100],
      });
      const { train } = config.data.params;
      assert(train.target === "tessera.data.WebDataset");
      const { dataDir, imageKey, filterPath, sampleJsonPath, sampleCocoUrls } = train.params.config;
      assertEquals([dataDir.length, filterPath.length, sampleJsonPath.length], [8, 5, 7]);
      assertEquals(imageKey, ["jpg", "jpeg.jpg", "jpg.jpg"]);
      assertEquals(sampleCocoUrls, "../../data/laion-coco_sample_urls_20M.txt");
    }
  },
});

Deno.test({
  name: "published transformers: sizes, schedules and the tokenizer they name",
  ignore,
  async fn() {
    const sizes = { B: 1024, L: 1280, XL: 1536, XXL: 1920 };
    for (const [size, width] of Object.entries(sizes)) {
      const loaded = asTransformer(await official(`imagenet_conditional_llama_${size}`));
      const { config, gpt, tokenizer } = completeTransformer(loaded.config, {
        tokenizer: null,
        classNum: 1000,
        file: loaded.file,
      });
      assertEquals([gpt.nEmbd, gpt.nHead, gpt.nLayer], [width, width / 64, width / 64]);
      assertEquals([gpt.vocabSize, gpt.blockSize, gpt.classNum], [16384, 256, 1000]);
      assertEquals([tokenizer.nEmbed, tokenizer.stage, tokenizer.ckptPath], [
        16384,
        "transformer",
        null,
      ]);
      assertEquals(gradientClip(config), 1);
      assertEquals(checkpointRetention(config.trainer), {
        best: 20,
        monitor: { split: "train", metric: "loss", mode: "min" },
      });
      assertEquals(config.model.params.twde, size === "XXL" ? 0.08 : 0);
    }
  },
});

Deno.test({
  name: "a published configuration with a mistake is refused with the nearest key",
  ignore,
  async fn() {
    const callback = (options: string) =>
      `trainer.callbacks=[{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {${options}}}]`;
    const refused: [string, string][] = [
      [callback("save_top_n: 3"), "trainer.callbacks[0].init_args.save_top_k"],
      [callback("save_top_k: 3"), "expected a monitor, by which the best are found"],
      [callback("save_top_k: -2"), "expected a whole number of at least -1, found -2"],
      [callback("monitor: loss"), 'expected a metric as train/loss or val/psnr, found "loss"'],
      [callback("mode: least"), "expected one of min, max"],
      [
        "trainer.callbacks=[{class_path: lightning.pytorch.callbacks.ModelCheckpoints}]",
        "the nearest is lightning.pytorch.callbacks.ModelCheckpoint",
      ],
      [
        `trainer.callbacks=[${"{class_path: tessera.callbacks.LearningRateMonitor}, ".repeat(2)}]`,
        "expected each callback once, found two of tessera.callbacks.LearningRateMonitor",
      ],
      ["data.train.config.sizes=256", "the nearest is data.train.config.size"],
      ["model.wp_iters=3", "the nearest is model.wp_iter"],
    ];
    for (const [override, problem] of refused) {
      await assertRejects(() => official("pretrain_ibqgan_16384", override), UserError, problem);
    }
    const every = callback("save_top_k: 0, every_n_train_steps: 7");
    const { config } = await official("pretrain_ibqgan_16384", every);
    assertEquals(saveInterval(config.trainer, 100), 7);
    assertEquals(checkpointRetention(config.trainer), { best: 0, monitor: null });
    const { config: epochs } = await official(
      "imagenet_ibqgan_1024",
      callback("every_n_epochs: 3"),
    );
    assertEquals(saveInterval(epochs.trainer, 100), 300);
    const { config: none } = await official("imagenet_ibqgan_1024", "trainer.callbacks=");
    assertEquals([saveInterval(none.trainer, 100), checkpointRetention(none.trainer).best], [
      100,
      0,
    ]);
  },
});
