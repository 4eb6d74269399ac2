import { sameBytes } from "./_base64.ts";
import { type AuditFinding, finding } from "./_finding.ts";
import type { LogLine } from "./_log_line.ts";
import { signedCheckpoint, type Walk } from "./_walk.ts";
import { appendLeaf, treeRoot } from "./merkle_tree.ts";

type Linked = Exclude<LogLine, { readonly kind: "head" }>;

/**
 * Says which line was altered where one does not name the hash of the entry before it: that entry, or the line itself.
 *
 * What the lines say of the entries before them gives two logs that there may have been: one in which that entry was
 * another, and one in which it was this one. The next signed root fits only the log that there was.
 *
 * @param walk The log up to the entry before.
 * @param content The line that names another hash.
 * @param line Its number.
 */
export async function diagnoseBreak(walk: Walk, content: Linked, line: number): Promise<AuditFinding> {
  const { size } = walk.tree;
  const ownLine = finding("altered", [size], `Line ${line} was altered`);
  if (!walk.before || walk.signedSize === size) return ownLine; // what comes before it is signed, or not there
  let ifBefore = appendLeaf(walk.before, content.prev);
  let ifOwn = walk.tree;
  for (let current: Linked | undefined = content; current;) {
    for (const root of await signedRoots(walk, ifOwn.size, current)) {
      if (sameBytes(root, treeRoot(ifBefore))) return finding("altered", [size - 1], `Entry ${size - 1} was altered`);
      if (sameBytes(root, treeRoot(ifOwn))) return ownLine;
    }
    const next: Linked | undefined = current.kind === "entry" ? await nextLine(walk) : undefined;
    if (next?.kind === "entry" && next.index !== ifOwn.size + 1) {
      const isOriginal = next.index === size && sameBytes(next.prev, walk.last);
      if (isOriginal) return finding("inserted", [size], `Line ${line} was put in before entry ${size}`);
      break;
    }
    if (next) [ifBefore, ifOwn] = [appendLeaf(ifBefore, next.prev), appendLeaf(ifOwn, next.prev)];
    current = next;
  }
  return finding("altered", [size - 1, size], `Entry ${size - 1}, or the line ${line} after it, was altered`);
}

/** The signed roots of that many entries: of checkpoints that were kept, and of the line itself where it is one. */
async function signedRoots(walk: Walk, size: number, line: Linked): Promise<Uint8Array[]> {
  const own = line.kind === "checkpoint" ? await signedCheckpoint(walk, line.note) : undefined;
  return [...walk.kept, ...(own ? [own] : [])]
    .filter((checkpoint) => checkpoint.size === size && checkpoint.origin === walk.origin)
    .map(({ root }) => root);
}

async function nextLine({ rows }: Walk): Promise<Linked | undefined> {
  for (let row = await rows.next(); !row.done; row = await rows.next()) {
    const { content } = row.value;
    if (content?.kind !== "head") return content;
  }
  return undefined;
}
