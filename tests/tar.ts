/** Makes tar archives, for tests of what reads them. @module */

const BLOCK = 512;

/** A member: its content, or a whole header's worth of choices. */
export interface TarPart {
  /** Its name, at most 100 bytes. */
  readonly name: string;
  /** Its content. */
  readonly data?: Uint8Array;
  /** Its type; default "0", a file. */
  readonly type?: string;
  /** Where a link leads. */
  readonly target?: string;
  /** The length that the header says, if not that of the content. */
  readonly lengthBytes?: number;
}

/**
 * Makes an archive as POSIX describes it (ustar).
 *
 * @param parts Its members.
 * @returns The archive, with its end.
 */
export function tarFile(parts: readonly TarPart[]): Uint8Array<ArrayBuffer> {
  const blocks = parts.flatMap((part) => {
    const { data = new Uint8Array() } = part;
    const padded = new Uint8Array(Math.ceil(data.length / BLOCK) * BLOCK);
    padded.set(data);
    return [tarHeader(part), padded];
  });
  const all = [...blocks, new Uint8Array(2 * BLOCK)];
  const archive = new Uint8Array(all.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of all) {
    archive.set(block, at);
    at += block.length;
  }
  return archive;
}

function tarHeader({ name, data, type = "0", target = "", lengthBytes }: TarPart): Uint8Array {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, text: string): void => header.set(new TextEncoder().encode(text), at);
  put(0, name);
  put(100, "0000644\0" + "0000000\0".repeat(2));
  put(124, (lengthBytes ?? data?.length ?? 0).toString(8).padStart(11, "0") + "\0");
  put(136, "00000000000\0");
  put(148, " ".repeat(8));
  put(156, type);
  put(157, target);
  put(257, "ustar\x0000");
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, sum.toString(8).padStart(6, "0") + "\0 ");
  return header;
}
