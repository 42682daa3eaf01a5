/** The published weights of other projects that losses and measures need: where they are, and how to know them. @module */

/** One published file. */
export interface PretrainedFile {
  /** Short name, for command lines and messages. */
  readonly name: string;
  /** The file's name, in the cache too. */
  readonly file: string;
  /** Where it is published. */
  readonly url: string;
  /** The first hexadecimal digits of its SHA-256. */
  readonly sha256: string;
  /** About how many MiB it has; twice as many bytes are never fetched. */
  readonly mebibytes: number;
  /** What it is, and what needs it. */
  readonly purpose: string;
}

/**
 * Every published file, by its short name. PyTorch's own files have the digits in their names; those of LPIPS were computed from
 * the package `lpips` 0.1.4, whose head for VGG16 is the reference's own file.
 */
export const PRETRAINED: Readonly<
  Record<"vgg16" | "lpips_vgg" | "alexnet" | "lpips_alex" | "inception", PretrainedFile>
> = {
  vgg16: {
    name: "vgg16",
    file: "vgg16-397923af.pth",
    url: "https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256: "397923af",
    mebibytes: 528,
    purpose: "VGG16 of torchvision: features of the perceptual loss and of LPIPS (vgg)",
  },
  "lpips_vgg": {
    name: "lpips_vgg",
    file: "lpips_v0.1_vgg.pth",
    url: "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/vgg.pth",
    sha256: "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    mebibytes: 1,
    purpose: "heads of LPIPS 0.1 on VGG16: perceptual loss and LPIPS (vgg)",
  },
  alexnet: {
    name: "alexnet",
    file: "alexnet-owt-7be5be79.pth",
    url: "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    sha256: "7be5be79",
    mebibytes: 233,
    purpose: "AlexNet of torchvision: features of LPIPS (alex)",
  },
  "lpips_alex": {
    name: "lpips_alex",
    file: "lpips_v0.1_alex.pth",
    url: "https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth",
    sha256: "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    mebibytes: 1,
    purpose: "heads of LPIPS 0.1 on AlexNet: LPIPS (alex)",
  },
  inception: {
    name: "inception",
    file: "pt_inception-2015-12-05-6726825d.pth",
    url:
      "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256: "6726825d",
    mebibytes: 92,
    purpose: "InceptionV3 in its FID variant: FID and Inception Score",
  },
};
