# For those who build with Docker; make image needs none and makes the same layout. One image for each target:
#   docker build --target receiver --build-arg VERSION=v1.2.3 --build-arg COMMIT=$(git rev-parse HEAD) -t receiver:v1.2.3 .
FROM --platform=$BUILDPLATFORM golang:1.26.10 AS build
WORKDIR /src
COPY . .
ARG VERSION COMMIT TARGETARCH
RUN GOOS=linux GOARCH=$TARGETARCH make build TOOLCHAIN=local VERSION="$VERSION" COMMIT="$COMMIT"

FROM scratch AS base
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
USER 65532:65532

FROM base AS operator
COPY --from=build /src/bin/operator /
ENTRYPOINT ["/operator"]

FROM base AS mandrill-emulator
COPY --from=build /src/bin/mandrill-emulator /
ENTRYPOINT ["/mandrill-emulator"]

FROM base AS kubectl-mandrill
COPY --from=build /src/bin/kubectl-mandrill /
ENTRYPOINT ["/kubectl-mandrill"]

FROM base AS receiver
COPY --from=build /src/bin/receiver /
ENTRYPOINT ["/receiver"]
