/** How long a path is at most, in UTF-16 units; stops long ones from being split once for each prefix. */
export const MAX_PATH_LENGTH = 4_096;

/** Whether a path reads the same to everybody: no empty, `.` or `..` segment, nothing that some decode or turn around. */
export function isCleanPath(path: string): boolean {
  if (path === "/") return true;
  if (path.length > MAX_PATH_LENGTH) return false;
  // A lone surrogate becomes U+FFFD on its way to a file system, so two paths would be one.
  if (!path.isWellFormed() || /[\\%\p{Cc}]/u.test(path)) return false;
  const segments = (path.startsWith("/") ? path.slice(1) : path).split("/");
  return segments.every((segment) => segment !== "" && segment !== "." && segment !== "..");
}

/** Whether a clean path is a clean prefix or below it, segment by segment. */
export function isWithin(prefix: string, path: string): boolean {
  return path === prefix || path.startsWith(prefix === "/" ? "/" : prefix + "/");
}
