/** Builds the conformance suite's program and takes the descriptors of its messages out of its source. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  file_google_protobuf_any,
  file_google_protobuf_descriptor,
  file_google_protobuf_empty,
  file_google_protobuf_struct,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

/** The suite's Go module, and the version whose cases the lists of known failures are for. */
const MODULE = "connectrpc.com/conformance";
const VERSION = "v1.0.7";

/** The files that hold the messages, each after those that it imports. */
const FILES = ["config", "service", "server_compat", "client_compat"] as const;

/** Nothing is optimized: it is built more often than it is waited for. */
const QUICKLY = ["-gcflags=all=-N -l", "-ldflags=-s -w"];

/** Where the suite is. */
export interface InstalledSuite {
  /** The program. */
  readonly path: string;
  /** The descriptors of its messages, a `FileDescriptorSet`. */
  readonly descriptorsPath: string;
}

/**
 * Builds the suite, unless an earlier run did.
 *
 * @param folder Where it is kept.
 * @returns The suite, or the reason why there is none: no Go, or no way to its module.
 * @throws Go cannot build it.
 */
export async function installSuite(folder: string): Promise<InstalledSuite | string> {
  const bin = `${folder}/${VERSION}`;
  const suite = { path: `${bin}/connectconformance`, descriptorsPath: `${bin}/descriptors.binpb` };
  if (await exists(suite.path) && await exists(suite.descriptorsPath)) return suite;
  const go = await findGo();
  if (go === undefined) return "Go is not installed";
  const downloaded = await run(go, ["mod", "download", "-json", `${MODULE}@${VERSION}`]);
  if (!downloaded.success) return `Go cannot get ${MODULE}@${VERSION}: ${reasonOf(downloaded.output)}`;
  await Deno.mkdir(bin, { recursive: true });
  const built = await run(go, ["install", ...QUICKLY, `${MODULE}/cmd/connectconformance@${VERSION}`], {
    GOBIN: await Deno.realPath(bin),
  });
  if (!built.success) throw new Error(`Go cannot build ${MODULE}@${VERSION}: ${reasonOf(built.output)}`);
  const { Dir: source } = JSON.parse(downloaded.output) as { readonly Dir: string };
  await Deno.writeFile(suite.descriptorsPath, await descriptorsOf(source));
  return suite;
}

async function exists(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isFile ?? false;
}

async function findGo(): Promise<string | undefined> {
  for (const path of [...(Deno.env.get("PATH") ?? "").split(":"), "/usr/local/go/bin", "/usr/lib/go/bin"]) {
    if (await exists(`${path}/go`)) return `${path}/go`;
  }
  return undefined;
}

/** A module that does not come at once may come at the second try: there are some hundred of them. */
async function run(...call: Parameters<typeof runOnce>): ReturnType<typeof runOnce> {
  const outcome = await runOnce(...call);
  return outcome.success ? outcome : await runOnce(...call);
}

/** In the folder of nobody's module, so that no `go.mod` decides what is built. */
async function runOnce(go: string, args: string[], env: Record<string, string> = {}) {
  const { success, stdout, stderr } = await new Deno.Command(go, {
    args,
    cwd: "/",
    env: { GOFLAGS: "", GOWORK: "off", ...env },
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  return { success, output: success ? text.decode(stdout) : text.decode(stdout) + text.decode(stderr) };
}

/** The last line, which is a member of an object where JSON was asked for. */
function reasonOf(output: string): string {
  const reason = /"Error": "(.*)"/.exec(output)?.[1] ?? output.trim().split("\n").at(-1) ?? "";
  return reason.slice(0, 300);
}

/** What Protobuf's compiler for Go leaves in its output: each file's descriptor as a list of bytes. */
async function descriptorsOf(source: string): Promise<Uint8Array> {
  const own = FILES.map(async (name) => {
    const go = await Deno.readTextFile(`${source}/internal/gen/proto/go/connectrpc/conformance/v1/${name}.pb.go`);
    const list = /_rawDesc = \[\]byte\{([^}]*)\}/.exec(go)?.[1];
    if (list === undefined) throw new Error(`There is no descriptor in ${name}.pb.go of ${MODULE}@${VERSION}`);
    const bytes = Uint8Array.from(list.match(/0x[0-9a-f]{2}/g) ?? [], Number);
    return fromBinary(FileDescriptorProtoSchema, bytes);
  });
  const imported = [
    file_google_protobuf_any,
    file_google_protobuf_empty,
    file_google_protobuf_struct,
    file_google_protobuf_descriptor, // a file of which a case makes an error's detail
  ];
  const file = [...imported.map(({ proto }) => proto), ...await Promise.all(own)];
  return toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file }));
}
