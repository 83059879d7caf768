// A page of somebody else: stock Uppy with its S3 plugin, nothing of ours but the address.
import Uppy from "@uppy/core";
import AwsS3 from "@uppy/aws-s3";

declare global {
  interface Window {
    uploadWithUppy(name: string, from: string, endpoint: string, multipart: boolean): Promise<{ key: string | null; failed: string[] }>;
  }
}

window.uploadWithUppy = async (name, from, endpoint, multipart) => {
  const uppy = new Uppy({ autoProceed: false });
  uppy.use(AwsS3, { companionEndpoint: endpoint, shouldUseMultipart: multipart } as never);
  const data = await (await fetch(from)).blob();
  uppy.addFile({ name, type: data.type, data } as never);
  const result = await uppy.upload();
  const done = result?.successful?.[0] as { s3Multipart?: { key?: string }; response?: { body?: { key?: string; location?: string } } } | undefined;
  const where = done?.response?.body;
  const key = done?.s3Multipart?.key ?? where?.key ?? /(uploads\/[\w-]+\/[\w-]+)/.exec(decodeURIComponent(where?.location ?? ""))?.[1] ?? null;
  return { key, failed: (result?.failed ?? []).map((file) => String((file as { error?: unknown }).error)) };
};
