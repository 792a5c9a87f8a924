"""Parameters of the methods, beside what the papers say (PANet table 1, PMMs section 4.3: millions of parameters).

python benchmarks/parameters.py
"""

from fsseg.encoders import VGG16, DeepLabVGG16, ResNet
from fsseg.methods import CANet, Method, PANet, PMMs, RPMMs, SGOne

PAPERS = {"PANet": "14.7", "SG-One": "19.0", "CANet baseline": "19", "PMMs": "19.5", "RPMMs": "19.6"}


def main() -> None:
    resnet, vgg = ResNet(weights="none"), DeepLabVGG16(weights="none")
    taps = DeepLabVGG16(("pool3", "pool4", "pool5"), extra=False, weights="none")
    methods: list[Method] = [
        PANet(VGG16(weights="none")), SGOne(taps), CANet(resnet, iterations=0), CANet(resnet),
        PMMs(resnet, p_conv=False), PMMs(resnet), RPMMs(resnet), PMMs(vgg), RPMMs(vgg),
    ]  # fmt: skip
    print("| method | encoder | parameters, M | of them trained, M | paper, M |\n| --- | --- | ---: | ---: | ---: |")
    for method in methods:
        every = sum(p.numel() for p in method.parameters()) / 1e6
        trained = sum(p.numel() for p in method.parameters() if p.requires_grad) / 1e6
        paper = PAPERS.get(method.name, "") if method.encoder is not vgg else ""
        print(f"| {method.name} | {method.encoder.name} | {every:.2f} | {trained:.2f} | {paper} |")


if __name__ == "__main__":
    main()
