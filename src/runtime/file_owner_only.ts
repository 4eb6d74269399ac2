import type { Stats } from "node:fs";
import { constants, type FileHandle, lstat, open, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { geteuid, platform } from "node:process";

/** A file that is looked at before anything of it is used. */
export interface OwnerOnlyFile {
  /** What it is, for messages: `key file`. */
  readonly what: string;
  /** Where it is. */
  readonly path: string;
}

/**
 * Reads a file that nobody but this user can read or change.
 *
 * What is looked at is the open file, so that nothing can be put in its place between the look and the reading.
 *
 * @param file The file.
 * @param maxBytes How long it may be.
 * @returns Its text.
 * @throws {Error} It is a link or no file, another user's, open to others, or too long.
 */
export async function readOwnerOnly(file: OwnerOnlyFile, maxBytes: number): Promise<string> {
  const named = await lstat(file.path);
  if (!named.isFile()) throw refused(file, named.isSymbolicLink() ? LINK : "it is not a regular file");
  const handle = await open(file.path, READ);
  try {
    assertOwnerOnly(file, named, await handle.stat());
    const text = await readAtMost(handle, maxBytes);
    if (text === undefined) throw refused(file, `it is longer than ${maxBytes} bytes`);
    return text;
  } finally {
    await handle.close();
  }
}

/**
 * Creates a file that nobody but this user can read or change; what is written is appended.
 *
 * @param file The file, which must not be there yet.
 * @returns The open file, empty.
 * @throws {Error} There is something at the path, or the file system keeps no modes.
 */
export async function createOwnerOnly(file: OwnerOnlyFile): Promise<FileHandle> {
  const handle = await open(file.path, CREATE, 0o600);
  try {
    assertOwnerOnly(file, await lstat(file.path), await handle.stat());
  } catch (error) {
    await handle.close();
    await unlink(file.path);
    throw error;
  }
  return handle;
}

/**
 * Refuses a file that others can read or change, or that is none; for what opens files by their names itself.
 *
 * @param file The file, in a folder that nobody else can change: between the look and the use it could be replaced there.
 * @throws {Error} It is not there, a link or no file, another user's, or open to others.
 */
export async function checkOwnerOnly(file: OwnerOnlyFile): Promise<void> {
  const named = await lstat(file.path);
  if (!named.isFile()) throw refused(file, named.isSymbolicLink() ? LINK : "it is not a regular file");
  assertOwnerOnly(file, named, named);
}

/** Makes what was created or renamed in a file's folder last: its name is stored apart from its content. */
export async function syncFolder(path: string): Promise<void> {
  if (platform === "win32") return; // a folder cannot be opened there
  const folder = await open(dirname(path), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** What is open must be what the path itself names, a file, and this user's alone. */
function assertOwnerOnly(file: OwnerOnlyFile, named: Stats, stats: Stats): void {
  // Deno resolves links by itself where its permission is not for all files, whatever the flags say.
  if (stats.ino !== named.ino || stats.dev !== named.dev) throw refused(file, "it was replaced while it was opened");
  if (platform === "win32") return; // access lists take the place of modes there, which Node does not show
  if (stats.uid !== geteuid!()) throw refused(file, "it belongs to another user; `chown` it to this one");
  if ((stats.mode & 0o077) === 0) return;
  const mode = (stats.mode & 0o777).toString(8).padStart(3, "0");
  throw refused(file, `others may open it, its mode is ${mode}; \`chmod 600\` it`);
}

/** By a buffer of one byte more than there may be: a file can grow while it is read. */
async function readAtMost(handle: FileHandle, maxBytes: number): Promise<string | undefined> {
  const buffer = new Uint8Array(maxBytes + 1);
  let length = 0;
  for (let read = -1; read !== 0 && length < buffer.length; length += read) {
    read = (await handle.read(buffer, length, buffer.length - length, null)).bytesRead;
  }
  return length > maxBytes ? undefined : new TextDecoder().decode(buffer.subarray(0, length));
}

function refused({ what, path }: OwnerOnlyFile, why: string): Error {
  return new Error(`Cannot use the ${what} "${path}": ${why}`);
}

const LINK = "it is a symbolic link; give the path that it leads to";

const { O_RDONLY, O_WRONLY, O_APPEND, O_CREAT, O_EXCL } = constants;
/** Windows has neither; without the second one the opening of a named pipe would wait for a writer. */
const { O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants as Partial<typeof constants>;
const READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
const CREATE = O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW;
