/** Tests of fetching: a server here that cuts connections, tells lies and serves wrong bytes. @module */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { corrupted, DAMAGES } from "../../tests/corrupt.ts";
import { UserError } from "../errors.ts";
import { download, type DownloadOptions } from "./download.ts";
import { adopt, obtain } from "./obtain.ts";
import { requirePretrained, sizeOf } from "./store.ts";
import { PRETRAINED, type PretrainedFile } from "./table.ts";

const ignore = (await Deno.permissions.query({ name: "net" })).state !== "granted" ||
  (await Deno.permissions.query({ name: "write" })).state !== "granted";

const CONTENT = Uint8Array.from({ length: 50_000 }, (_, i) => (i * i) >> 7);
const FILE: PretrainedFile = {
  name: "numbers",
  file: "numbers.pth",
  url: "",
  sha256: createHash("sha256").update(CONTENT).digest("hex").slice(0, 8),
  mebibytes: 1,
  purpose: "a test",
};
const FAST: DownloadOptions = { tries: 3, pauseMs: 1, silenceMs: 2000 };

/** What a server writes before it closes the connection; null to say nothing and keep it open. */
type Answer = Uint8Array | null;

function answer(status: string, headers: readonly string[], body: Uint8Array): Uint8Array {
  const head = [`HTTP/1.1 ${status}`, "connection: close", ...headers, "", ""].join("\r\n");
  const bytes = new Uint8Array(head.length + body.length);
  new TextEncoder().encodeInto(head, bytes);
  bytes.set(body, head.length);
  return bytes;
}

/** Answers as a good server does, with at most `most` bytes before the connection is cut. */
function serve(content: Uint8Array, start: number, most = Infinity): Uint8Array {
  const rest = content.subarray(start);
  const headers = [`content-length: ${rest.length}`];
  if (start === 0) return answer("200 OK", headers, rest.subarray(0, most));
  const range = `content-range: bytes ${start}-${content.length - 1}/${content.length}`;
  return start < content.length
    ? answer("206 Partial Content", [...headers, range], rest.subarray(0, most))
    : answer("416 Range Not Satisfiable", ["content-length: 0"], new Uint8Array());
}

/** A server in plain TCP: what it writes is all that a client gets. */
class Server implements AsyncDisposable {
  readonly starts: number[] = [];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open: Deno.Conn[] = [];
  readonly #done: Promise<void>;

  constructor(answerOf: (start: number, request: number) => Answer) {
    this.#done = this.#run(answerOf);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#listener.addr.port}`;
  }

  async #run(answerOf: (start: number, request: number) => Answer): Promise<void> {
    for await (const connection of this.#listener) {
      const buffer = new Uint8Array(4096);
      const count = await connection.read(buffer) ?? 0;
      const text = new TextDecoder().decode(buffer.subarray(0, count));
      const start = Number(/^range: bytes=(\d+)-/im.exec(text)?.[1] ?? 0);
      const bytes = answerOf(start, this.starts.push(start) - 1);
      if (bytes === null) {
        this.#open.push(connection);
        continue;
      }
      const writer = connection.writable.getWriter();
      // A client that has heard enough hangs up.
      await writer.write(bytes).then(() => writer.close()).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#open) connection.close();
    await this.#done;
  }
}

async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tessera-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function test(name: string, body: (folder: string) => Promise<void>): void {
  // Connections that the client pools are closed some time after the test.
  const options = { ignore, sanitizeOps: false, sanitizeResources: false };
  Deno.test({ name, ...options, fn: () => withFolder(body) });
}

function names(folder: string): string[] {
  return Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
}

test("download() continues where the connection was cut, until the file is whole", async (folder) => {
  await using server = new Server((start) => serve(CONTENT, start, 11_000));
  const path = `${folder}/${FILE.file}`;
  await download(FILE, server.url, path, FAST);
  assertEquals(await Deno.readFile(path), CONTENT);
  assertEquals(server.starts, [0, 11_000, 22_000, 33_000, 44_000]);
  assertEquals(names(folder), [FILE.file]);
});

test("download() continues what an earlier process left", async (folder) => {
  const path = `${folder}/${FILE.file}`;
  {
    await using server = new Server((start) => serve(CONTENT, start, start === 0 ? 30_000 : 0));
    await assertRejects(
      () => download(FILE, server.url, path, FAST),
      UserError,
      `Cannot fetch numbers: expected numbers.pth from ${server.url}, found "`,
    );
    assertEquals(names(folder), [`${FILE.file}.part`]);
  }
  await using server = new Server((start) => serve(CONTENT, start));
  await download(FILE, server.url, path, FAST);
  assertEquals([server.starts, names(folder)], [[30_000], [FILE.file]]);
  assertEquals(await Deno.readFile(path), CONTENT);
});

test("download() starts anew where a server knows no ranges, or what was there is of another file", async (folder) => {
  const path = `${folder}/${FILE.file}`;
  await Deno.writeFile(`${path}.part`, CONTENT.subarray(0, 400));
  await using plain = new Server(() => serve(CONTENT, 0));
  await download(FILE, plain.url, path, FAST);
  assertEquals([await Deno.readFile(path), plain.starts], [CONTENT, [400]]);
  for (const length of [400, CONTENT.length, CONTENT.length + 1]) {
    await Deno.remove(path);
    await Deno.writeFile(`${path}.part`, new Uint8Array(length));
    await using server = new Server((start) => serve(CONTENT, start));
    await download(FILE, server.url, path, FAST);
    assertEquals([await Deno.readFile(path), server.starts], [CONTENT, [length, 0]]);
    assertEquals(names(folder), [FILE.file]);
  }
});

test("download() refuses wrong bytes, endless answers, errors and silence, and leaves no file", async (folder) => {
  const path = `${folder}/${FILE.file}`;
  const empty = new Uint8Array();
  const cases: readonly (readonly [(start: number) => Answer, string])[] = [
    [() => serve(CONTENT.toReversed(), 0), "expected a SHA-256 that starts with"],
    // A page that says hello to whoever asks, as networks with a log-in do.
    [() => serve(new TextEncoder().encode("<html>hello</html>"), 0), "as numbers: expected a SHA"],
    [() => answer("404 Not Found", ["content-length: 0"], empty), 'found "404 Not Found"'],
    [
      () => answer("503 Service Unavailable", ["content-length: 0"], empty),
      'found "503 Service Unavailable"',
    ],
    [() => answer("200 OK", ["content-length: 9000000"], empty), 'found "9000000 bytes"'],
    [() => answer("200 OK", [], new Uint8Array(3_000_000)), 'found "more than 2097152 bytes"'],
    [() => answer("206 Partial", ["content-range: bytes 7-9/10"], empty), "that starts elsewhere"],
    [() => new TextEncoder().encode("SSH-2.0\r\n"), "Cannot fetch numbers"],
    [() => null, 'found "the server fell silent"'],
  ];
  for (const [answerOf, message] of cases) {
    await using server = new Server(answerOf);
    const options = { ...FAST, silenceMs: answerOf(0) === null ? 50 : 2000 };
    await assertRejects(() => download(FILE, server.url, path, options), UserError, message);
    assertEquals(await sizeOf(path), undefined);
  }
  await assertRejects(
    () => download(FILE, "http://127.0.0.1:1", path, FAST),
    UserError,
    "Cannot fetch numbers: expected numbers.pth from http://127.0.0.1:1, found",
  );
});

test("download() gives the file or a clear error for each of 201 damaged answers", async (folder) => {
  const small = CONTENT.subarray(0, 300);
  const file = { ...FILE, sha256: createHash("sha256").update(small).digest("hex") };
  const good = serve(small, 0);
  let refused = 0;
  for (let number = 0; number < 67; number++) {
    for (const damage of DAMAGES) {
      const bytes = corrupted(good, damage, { number, length: { bytes: 3 } });
      // The good server is reached by the second try, if the first answer calls for one.
      await using server = new Server((start, request) =>
        request === 0 ? bytes : serve(small, start)
      );
      const path = `${folder}/${number} ${damage}`;
      try {
        await download(file, server.url, path, { ...FAST, tries: 2, silenceMs: 300 });
        assertEquals(await Deno.readFile(path), small);
      } catch (error) {
        assert(error instanceof UserError, String(error));
        assertEquals(await sizeOf(path), undefined);
        refused++;
      }
    }
  }
  assert(refused > 40, `${refused} refused`);
});

test("obtain() takes a mirror that is a URL or a folder, and what is there already", async (folder) => {
  const [cache, mirror] = [`${folder}/cache`, `${folder}/mirror`];
  await using server = new Server((start) => serve(CONTENT, start));
  const options = { ...FAST, folder: cache };
  assertEquals(await obtain(FILE, { ...options, mirror: `${server.url}/` }), "fetched");
  assertEquals(await obtain(FILE, { ...options, mirror: "http://127.0.0.1:1" }), "present");
  await Deno.rename(cache, mirror);
  assertEquals(await obtain(FILE, { ...options, mirror }), "fetched");
  assertEquals(await Deno.readFile(`${cache}/${FILE.file}`), CONTENT);
  for (let number = 0; number < 200; number++) {
    const damage = DAMAGES[number % DAMAGES.length]!;
    await Deno.writeFile(`${cache}/${FILE.file}`, corrupted(CONTENT, damage, { number }));
    await assertRejects(() => obtain(FILE, options), UserError, "as numbers: expected a SHA-256");
  }
  await Deno.rename(`${cache}/${FILE.file}`, `${mirror}/${FILE.file}`);
  await assertRejects(() => obtain(FILE, { ...options, mirror }), UserError, "expected a SHA-256");
  await Deno.remove(`${mirror}/${FILE.file}`);
  await assertRejects(
    () => obtain(FILE, { ...options, mirror }),
    UserError,
    `expected ${mirror}/${FILE.file}, as TESSERA_WEIGHTS_MIRROR says, found no such file`,
  );
  assertEquals(names(cache), []);
});

test("adopt() and requirePretrained() say what is expected where another file is given", async (folder) => {
  const path = `${folder}/some.pth`;
  await Deno.writeFile(path, CONTENT);
  await assertRejects(
    () => adopt(path, folder),
    UserError,
    `Cannot use ${path}: expected a SHA-256 that starts like that of vgg16 (397923af…), lpips_vgg`,
  );
  const before = Deno.env.get("TESSERA_WEIGHTS");
  Deno.env.set("TESSERA_WEIGHTS", folder);
  try {
    await assertRejects(
      () => requirePretrained(PRETRAINED.vgg16, "train"),
      UserError,
      `Cannot train: expected vgg16 at ${folder}/vgg16-397923af.pth, found no such file; deno task weights vgg16 fetches it`,
    );
    await Deno.rename(path, `${folder}/vgg16-397923af.pth`);
    await assertRejects(
      () => requirePretrained(PRETRAINED.vgg16, "train"),
      UserError,
      `Cannot use ${folder}/vgg16-397923af.pth as vgg16: expected a SHA-256 that starts with 397923af, found `,
    );
  } finally {
    if (before === undefined) Deno.env.delete("TESSERA_WEIGHTS");
    else Deno.env.set("TESSERA_WEIGHTS", before);
  }
});
